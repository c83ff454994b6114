# The tests of a cross build for 64-bit Arm, on the CPUs that an emulator has: <test>_<cpu>. Each CPU
# tests its best kernel, so that the three test all but scalar, and hashes with every kernel it has.
find_program(BITNET_ONNX_QEMU_ARM NAMES qemu-aarch64-static qemu-aarch64)
if(NOT BITNET_ONNX_QEMU_ARM)
  add_test(NAME emulated COMMAND ${CMAKE_COMMAND} -E echo "skipped: no qemu-aarch64")
  set_tests_properties(emulated PROPERTIES SKIP_REGULAR_EXPRESSION "skipped")
  return()
endif()

function(emulate cpu)  # with the kernels that it must offer
  set(run ${BITNET_ONNX_QEMU_ARM} -cpu ${cpu})
  list(JOIN ARGN "," kernels_arguments)
  list(GET ARGN 0 best)
  foreach(test IN LISTS tests)
    add_test(NAME ${test}_${cpu} COMMAND ${run} $<TARGET_FILE:${test}_test> ${${test}_arguments})
    set_tests_properties(${test}_${cpu} PROPERTIES ENVIRONMENT "BITNET_ONNX_KERNEL=${best}")
  endforeach()
  add_test(NAME hash_${cpu} COMMAND ${run} $<TARGET_FILE:hash> all)
endfunction()
emulate(max neon_i8mm neon_dotprod neon scalar)
emulate(neoverse-n1 neon_dotprod neon scalar)
emulate(cortex-a53 neon scalar)
