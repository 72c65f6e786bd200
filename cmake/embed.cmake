# ml_embed_lua(<variable> <directory>): compiles every Lua file below <directory> to bytecode and
# sets <variable> to a C file that defines ml_embedded[] (bindings/embed.h) with all of them.
# lua/tls.lua becomes the module "tls", lua/moonlatch/class.lua becomes "moonlatch.class".
function(ml_embed_lua variable directory)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/embedded)
  file(MAKE_DIRECTORY ${out})
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${directory} ${directory}/*.lua)
  set(includes "")
  set(entries "")
  set(products "")
  foreach(file IN LISTS files)
    string(REGEX REPLACE "\\.lua$" "" stem ${file})
    string(REPLACE "/" "." module ${stem})
    string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol ${stem})
    set(product ${out}/${symbol}.inc)
    # Run inside the directory: the chunk's name, seen in tracebacks, is the path given here.
    add_custom_command(
      OUTPUT ${product}
      COMMAND ${LUAJIT} -b -g -t h -n ${symbol} ${file} ${product}
      DEPENDS ${directory}/${file}
      WORKING_DIRECTORY ${directory}
      COMMENT "Compiling lua/${file}"
      VERBATIM)
    list(APPEND products ${product})
    string(APPEND includes "#include \"${symbol}.inc\"\n")
    string(APPEND entries
           "    {\"${module}\", luaJIT_BC_${symbol}, sizeof luaJIT_BC_${symbol}},\n")
  endforeach()
  set(source ${out}/embedded.c)
  file(GENERATE OUTPUT ${source} CONTENT "#include \"embed.h\"\n\n${includes}
const struct ml_embedded ml_embedded[] = {
${entries}    {NULL, NULL, 0},
};
")
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS "${products}" GENERATED ON)
  set(${variable} ${source} PARENT_SCOPE)
endfunction()
