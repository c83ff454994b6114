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

# Sets names to what gets other kernels with these instructions than without: the operations with a
# file of them, and the operators whose files call such an operation, or include such an operator.
function(find_faster isa)
  file(GLOB names RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" kernels/*/arm_${isa}.cc)
  list(TRANSFORM names REPLACE "kernels/(.+)/.+" "\\1")
  file(GLOB sources RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" operators/*/*.h operators/*/*.cc)
  list(FILTER sources EXCLUDE REGEX "/(test|bench)")
  set(fewer "")
  while(NOT names STREQUAL fewer)
    set(fewer ${names})
    list(JOIN names "|" any)
    foreach(source IN LISTS sources)
      file(READ ${source} text)
      if(text MATCHES "[/.>](${any})")
        string(REGEX REPLACE "operators/(.+)/.+" "\\1" operator ${source})
        list(APPEND names ${operator})
      endif()
    endforeach()
    list(REMOVE_DUPLICATES names)
  endwhile()
  set(names ${names} PARENT_SCOPE)
endfunction()

function(emulate cpu)  # ARGN: the kernels that it must offer
  list(JOIN ARGN "," offered)
  list(GET ARGN 0 best)
  if(best STREQUAL neon)
    set(names ${operations} ${operators})
  else()
    find_faster(${best})
  endif()
  foreach(suite IN ITEMS platform kernels LISTS names)
    set(program kernels_test)
    if(suite IN_LIST operators)
      set(program operators_test)
    endif()
    add_test(NAME ${suite}_${cpu}
      COMMAND ${BITNET_ONNX_QEMU_ARM} -cpu ${cpu} $<TARGET_FILE:${program}> ${suite})
    set_tests_properties(${suite}_${cpu} PROPERTIES ENVIRONMENT
      "BITNET_ONNX_EMULATED=1;BITNET_ONNX_KERNEL=${best};BITNET_ONNX_OFFERED=${offered}")
  endforeach()
  add_test(NAME hash_${cpu} COMMAND ${BITNET_ONNX_QEMU_ARM} -cpu ${cpu} $<TARGET_FILE:hash> ${best})
endfunction()
emulate(max neon_i8mm neon_dotprod neon scalar)
emulate(neoverse-n1 neon_dotprod neon scalar)
emulate(cortex-a53 neon scalar)
add_test(NAME hash_scalar COMMAND ${BITNET_ONNX_QEMU_ARM} -cpu cortex-a53 $<TARGET_FILE:hash> scalar)
