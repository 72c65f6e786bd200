# What a server must stand for long: see bench/soak. Too slow for sanitizers, which change memory figures anyway.
if(NOT ML_ASAN)
  foreach(soak gib_echo many_connections sequential_connects transports rolling_reload)
    add_test(NAME soak/${soak}
             COMMAND moonlatch ${CMAKE_CURRENT_SOURCE_DIR}/bench/soak/${soak}.lua)
    set_tests_properties(soak/${soak} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
  endforeach()
endif()

# Ten thousand random sequences of what a script can do to streams; script/sanitize runs them as well.
if(BUSTED)
  set(native_pipes 1 0)
  if(ML_ASAN)
    set(native_pipes 1)
  endif()
  foreach(native IN LISTS native_pipes)
    add_test(NAME soak/streams_native_${native}
             COMMAND ${BUSTED} --lua=$<TARGET_FILE:moonlatch> spec/stream/properties_spec.lua
             WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_tests_properties(soak/streams_native_${native} PROPERTIES TIMEOUT 5000
                         ENVIRONMENT "MOONLATCH_SPEC_SEQUENCES=390;MOONLATCH_NATIVE_PIPE=${native}")
  endforeach()
endif()
