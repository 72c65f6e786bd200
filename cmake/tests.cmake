# One ctest per C test of the runtime, one per spec; each has a deadline of its own.
find_program(BUSTED busted)
pkg_check_modules(cmocka IMPORTED_TARGET cmocka)

if(cmocka_FOUND)
  file(GLOB runtime_tests CONFIGURE_DEPENDS spec/runtime/test_*.c)
  foreach(source IN LISTS runtime_tests)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_include_directories(${name} PRIVATE spec/runtime)
    target_link_libraries(${name} PRIVATE ml_runtime PkgConfig::cmocka)
    add_test(NAME runtime/${name} COMMAND ${name})
    set_tests_properties(runtime/${name} PROPERTIES TIMEOUT 60)
  endforeach()
else()
  message(WARNING "cmocka not found: the runtime's tests are left out")
endif()

# The module, loaded into a stock luajit, needs the sanitizer's library loaded first.
set(spec_environment "MOONLATCH_MODULE=$<TARGET_FILE:moonlatch_module>")
if(ML_ASAN)
  if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
    set(asan_library libclang_rt.asan-${CMAKE_SYSTEM_PROCESSOR}.so)
  else()
    set(asan_library libasan.so)
  endif()
  execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=${asan_library}
                  OUTPUT_VARIABLE asan_path OUTPUT_STRIP_TRAILING_WHITESPACE)
  list(APPEND spec_environment "MOONLATCH_MODULE_PRELOAD=${asan_path}")
endif()

if(BUSTED)
  file(GLOB_RECURSE specs CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
       spec/*_spec.lua)
  foreach(spec IN LISTS specs)
    string(REGEX REPLACE "_spec\\.lua$" "" name ${spec})
    add_test(NAME ${name}
             COMMAND ${BUSTED} --lua=$<TARGET_FILE:moonlatch> ${spec}
             WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES TIMEOUT 180 ENVIRONMENT "${spec_environment}")
  endforeach()
else()
  message(WARNING "busted not found: the specs are left out")
endif()
