# The tests of a cross build for 64-bit Arm on emulated CPUs: <test>_<cpu>. Each CPU tests its best
# kernels, so that the three together test all but scalar. The oldest CPU tests everything, a later
# one the suites that get other kernels there; all hash the results of every operator, the oldest
# with scalar, too.
find_program(BITNET_ONNX_QEMU_ARM NAMES qemu-aarch64-static qemu-aarch64)
if(NOT BITNET_ONNX_QEMU_ARM)
  add_test(NAME emulated COMMAND ${CMAKE_COMMAND} -E echo "skipped: no qemu-aarch64")
  set_tests_properties(emulated PROPERTIES SKIP_REGULAR_EXPRESSION "skipped")
  return()
endif()

# The operators that run kernels of these instructions. Those of kernels/ are found by their files.
set(with_neon ${operators})
set(with_neon_dotprod attention experts int4_matmul int8_matmul ternary_feed_forward
    ternary_group_matmul ternary_matmul two_step_matmul)
set(with_neon_i8mm experts ternary_feed_forward ternary_matmul)

function(emulate cpu)  # ARGN: the kernels that it must offer
  set(run ${BITNET_ONNX_QEMU_ARM} -cpu ${cpu})
  list(JOIN ARGN "," offered)
  list(GET ARGN 0 best)
  set(environment
    "BITNET_ONNX_EMULATED=1;BITNET_ONNX_KERNEL=${best};BITNET_ONNX_OFFERED=${offered}")
  set(suites platform kernels)
  foreach(suite IN LISTS operations)
    if(best STREQUAL neon OR EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/kernels/${suite}/arm_${best}.cc")
      list(APPEND suites ${suite})
    endif()
  endforeach()
  foreach(suite IN LISTS suites)
    add_test(NAME ${suite}_${cpu} COMMAND ${run} $<TARGET_FILE:kernels_test> ${suite})
    set_tests_properties(${suite}_${cpu} PROPERTIES ENVIRONMENT "${environment}")
  endforeach()
  foreach(suite IN LISTS with_${best})
    add_test(NAME ${suite}_${cpu} COMMAND ${run} $<TARGET_FILE:operators_test> ${suite})
    set_tests_properties(${suite}_${cpu} PROPERTIES ENVIRONMENT "${environment}")
  endforeach()
  add_test(NAME hash_${cpu} COMMAND ${run} $<TARGET_FILE:hash> ${best})
endfunction()
emulate(max neon_i8mm neon_dotprod neon scalar)
emulate(neoverse-n1 neon_dotprod neon scalar)
emulate(cortex-a53 neon scalar)
add_test(NAME hash_scalar COMMAND ${BITNET_ONNX_QEMU_ARM} -cpu cortex-a53 $<TARGET_FILE:hash> scalar)
