# What a server must stand for long: see bench/soak. Too slow for sanitizers, which change memory figures anyway.
if(NOT ML_ASAN)
  foreach(soak gib_echo many_connections sequential_connects transports)
    add_test(NAME soak/${soak}
             COMMAND moonlatch ${CMAKE_CURRENT_SOURCE_DIR}/bench/soak/${soak}.lua)
    set_tests_properties(soak/${soak} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
  endforeach()
endif()
