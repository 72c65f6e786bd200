# While parts of bindings/ are being written: an opener takes part when its file exists.
foreach(opener sock listener timer process fs dns context tls crypto x509 certmaker)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/bindings/${opener}.c)
    string(TOUPPER ${opener} upper)
    target_compile_definitions(ml_bindings PRIVATE ML_HAVE_${upper})
  endif()
endforeach()
