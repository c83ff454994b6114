# Tests and benchmarks. A folder of kernels/ or operators/ is a suite: kernels_test <suite>.
enable_testing()
find_package(Threads REQUIRED)
set(BITNET_ONNX_FUZZ_ROUNDS 20000 CACHE STRING "Rounds of the fuzz of the operators' boundary")
set(operators
  attention
  bf16_matmul
  experts
  gated
  int8_matmul
  level_matmul
  rms_norm
  ternary_feed_forward
  ternary_group_matmul
  ternary_matmul
  two_step_matmul)
set(benches
  kernels/int8_gemv
  kernels/read
  kernels/ternary_columns
  kernels/ternary_few
  kernels/ternary_gemm
  kernels/ternary_gemv
  operators/bf16_matmul
  operators/experts
  operators/int8_matmul
  operators/level_matmul
  operators/ternary_group_matmul
  operators/ternary_matmul)
list(TRANSFORM operations REPLACE "(.+)" "kernels/\\1/test.cc" OUTPUT_VARIABLE kernel_tests)
list(TRANSFORM operators REPLACE "(.+)" "operators/\\1/test.cc" OUTPUT_VARIABLE operator_tests)
list(TRANSFORM benches APPEND /bench.cc)

function(program target)
  add_executable(${target} ${ARGN} ${core})
  if(NOT MSVC AND NOT target MATCHES bench)
    # GCC takes half as long for less, and emulators for loops that are not vectorized.
    target_compile_options(${target} PRIVATE "$<$<CONFIG:Release>:-O1>")
  endif()
  target_include_directories(${target} SYSTEM PRIVATE ${ONNXRUNTIME_INCLUDE_DIR})
  if(BITNET_ONNX_SANITIZE OR CMAKE_CROSSCOMPILING)  # sanitizers and emulators are slow
    target_compile_definitions(${target} PRIVATE TESTED_K=8192)
  endif()
  if(BITNET_ONNX_SANITIZE STREQUAL thread)
    target_compile_definitions(${target} PRIVATE TESTED_KERNELS=1)
  endif()
  if(WIN32 AND NOT MSVC)  # an annotation of ONNX Runtime's header that only MSVC knows
    target_compile_options(${target} PRIVATE "-D_Return_type_success_(x)=")
  endif()
  target_link_libraries(${target} PRIVATE Threads::Threads $<$<BOOL:${ZIG_TARGET}>:c++>)
endfunction()
set(boundary testing/fake_ort.cc $<TARGET_OBJECTS:bitnet_boundary>)
program(operators_test testing/main.cc ${operator_tests} operators/attention/test_int8.cc
        operators/attention/test_long.cc operators/two_step_matmul/test_levels.cc
        operators/two_step_matmul/test_rescore.cc)
program(boundary_test testing/main.cc onnxruntime/test.cc ${boundary})
if(WIN32)
  program(greedy testing/greedy.cc)
else()  # it takes signals
  program(fuzz onnxruntime/fuzz.cc ${boundary})
endif()
if(NOT BITNET_ONNX_SANITIZE STREQUAL thread)  # the others have no threads
  program(kernels_test testing/main.cc platform/test.cc kernels/test.cc ${kernel_tests})
  program(hash testing/hash.cc testing/hash_attention.cc testing/hash_experts.cc)
endif()
if(NOT BITNET_ONNX_SANITIZE)  # sanitized, nobody measures
  program(bench testing/bench.cc ${benches})
  program(attention_bench operators/attention/bench.cc)
endif()

if(CMAKE_CROSSCOMPILING)
  if(processor STREQUAL aarch64)
    include(cmake/EmulatedArm.cmake)
  endif()
else()
  foreach(suite IN LISTS operators)
    add_test(NAME ${suite} COMMAND operators_test ${suite})
  endforeach()
  add_test(NAME onnxruntime COMMAND boundary_test)
  if(TARGET fuzz)
    add_test(NAME fuzz COMMAND fuzz ${BITNET_ONNX_FUZZ_ROUNDS})
  endif()
  if(TARGET kernels_test)
    foreach(suite IN ITEMS platform kernels LISTS operations)
      add_test(NAME ${suite} COMMAND kernels_test ${suite})
    endforeach()
    add_test(NAME hash COMMAND hash all)
  endif()
endif()

if(BITNET_ONNX_SANITIZE)
  return()
endif()

# The kernels of AVX-VNNI on CPUs without it: the one instruction is emulated where it traps. Each
# takes a microsecond, so there are fewer shapes.
if(processor MATCHES "^(x86_64|amd64)$" AND CMAKE_SYSTEM_NAME STREQUAL Linux AND TARGET kernels_test)
  program(avxvnni_test testing/main.cc testing/emulated_avxvnni.cc kernels/ternary_gemm/test.cc)
  target_compile_definitions(avxvnni_test PRIVATE TESTED_K=2560)
  target_link_options(avxvnni_test PRIVATE LINKER:--wrap=_ZN6bitnet10detect_cpuEv)
  add_test(NAME emulated_avxvnni COMMAND avxvnni_test)
  set_tests_properties(emulated_avxvnni PROPERTIES
    ENVIRONMENT BITNET_ONNX_KERNEL=avxvnni SKIP_REGULAR_EXPRESSION "kernel is avxvnni, expected one of"
    COST 100)
endif()

# The public header in C and in C++.
if(NOT CMAKE_CROSSCOMPILING)
  foreach(language IN ITEMS c cc)
    add_executable(header_${language} include/test.${language})
    target_include_directories(header_${language} SYSTEM PRIVATE ${ONNXRUNTIME_INCLUDE_DIR})
    target_link_libraries(header_${language} PRIVATE bitnet_onnx_ops)
    if(NOT MSVC)
      target_compile_options(header_${language} PRIVATE -pedantic -Werror)
    endif()
    add_test(NAME header_${language} COMMAND header_${language})
  endforeach()
  set_target_properties(header_c PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
endif()

if(NOT MSVC)
  add_subdirectory(cmake/symbols)
endif()

# The same programs on an emulated CPU without AVX: only scalar may run.
if(processor MATCHES "^(x86_64|amd64)$")
  find_program(BITNET_ONNX_QEMU NAMES qemu-x86_64-static qemu-x86_64)
  if(BITNET_ONNX_QEMU)
    set(old_cpu ${BITNET_ONNX_QEMU} -cpu Nehalem)
    add_test(NAME kernels_old_cpu COMMAND ${old_cpu} $<TARGET_FILE:kernels_test>)
    set_tests_properties(kernels_old_cpu PROPERTIES
      ENVIRONMENT "BITNET_ONNX_EMULATED=1;BITNET_ONNX_OFFERED=scalar")
    add_test(NAME operators_old_cpu COMMAND ${old_cpu} $<TARGET_FILE:operators_test>)
    set_tests_properties(operators_old_cpu PROPERTIES ENVIRONMENT BITNET_ONNX_EMULATED=1)
    # The longest: first, so that `ctest -j` does not end with them.
    set_tests_properties(kernels_old_cpu operators_old_cpu PROPERTIES COST 100)
  else()
    add_test(NAME kernels_old_cpu COMMAND ${CMAKE_COMMAND} -E echo "skipped: no qemu-x86_64")
    set_tests_properties(kernels_old_cpu PROPERTIES SKIP_REGULAR_EXPRESSION "skipped")
  endif()
endif()
