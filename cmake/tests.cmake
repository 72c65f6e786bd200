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

# An engine for the specs, beside the program, where they look for it. OpenSSL 4 has no engines.
if(OPENSSL_VERSION VERSION_LESS 4)
  add_library(spec_engine MODULE spec/support/engine.c)
  target_link_libraries(spec_engine PRIVATE OpenSSL::SSL)
  set_target_properties(spec_engine PROPERTIES PREFIX "" C_VISIBILITY_PRESET default)
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

# Only so that a spec that hangs does not hang the rest: the machine may be busy.
set(spec_timeout 300)
if(ML_ASAN)
  set(spec_timeout 900)
endif()

if(BUSTED)
  file(GLOB_RECURSE specs CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
       spec/*_spec.lua)
  foreach(spec IN LISTS specs)
    string(REGEX REPLACE "_spec\\.lua$" "" name ${spec})
    add_test(NAME ${name}
             COMMAND ${BUSTED} --lua=$<TARGET_FILE:moonlatch> ${spec}
             WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${spec_timeout} ENVIRONMENT "${spec_environment}")
  endforeach()

  # Pipes between sockets run in C; these specs hold without that as well. They are the longest there are.
  foreach(name stream/conformance_pipe stream/conformance_pipeline stream/properties)
    add_test(NAME spec/${name}_in_lua
             COMMAND ${BUSTED} --lua=$<TARGET_FILE:moonlatch> spec/${name}_spec.lua
             WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_tests_properties(spec/${name}_in_lua PROPERTIES
                         ENVIRONMENT "${spec_environment};MOONLATCH_NATIVE_PIPE=0")
    set_tests_properties(spec/${name} spec/${name}_in_lua PROPERTIES TIMEOUT 900)
  endforeach()
else()
  message(WARNING "busted not found: the specs are left out")
endif()

# Each fuzzer for a short while, where there is a clang that can build them (they bring sanitizers of
# their own). They share a build directory and what they found worth keeping with fuzz/run.
find_program(FUZZ_CC NAMES clang clang-14)
set(ML_FUZZ_SECONDS 30 CACHE STRING "How long the tests run each fuzzer")
if(FUZZ_CC AND NOT ML_ASAN)
  set(probe ${CMAKE_CURRENT_BINARY_DIR}/probe_fuzzer)
  file(WRITE ${probe}.c "int LLVMFuzzerTestOneInput(const char *d, unsigned long n);\n"
                        "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return !d && n; }\n")
  execute_process(COMMAND ${FUZZ_CC} -fsanitize=fuzzer,address,undefined ${probe}.c -o ${probe}
                  RESULT_VARIABLE probe_failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT probe_failed)
    set(fuzz_run ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/run)
    set(fuzz_build ${CMAKE_CURRENT_BINARY_DIR}/fuzz)
    add_test(NAME fuzz/build COMMAND ${fuzz_run} 0 ${fuzz_build})
    set_tests_properties(fuzz/build PROPERTIES TIMEOUT 900 FIXTURES_SETUP fuzzers
                         ENVIRONMENT "CC=${FUZZ_CC}")
    math(EXPR fuzz_timeout "${ML_FUZZ_SECONDS} + 120")
    foreach(name hello engine context certificate ocsp)
      add_test(NAME fuzz/${name} COMMAND ${fuzz_run} ${ML_FUZZ_SECONDS} ${fuzz_build} ${name})
      set_tests_properties(fuzz/${name} PROPERTIES TIMEOUT ${fuzz_timeout} FIXTURES_REQUIRED fuzzers)
    endforeach()
  endif()
endif()
