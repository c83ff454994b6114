# A cross build for Android by zig, without the NDK: what custom_ops/cmake/zig.cmake does for the
# operators, with the names of more functions.
include("${CMAKE_CURRENT_LIST_DIR}/../../../custom_ops/cmake/zig.cmake")
set(_stubs "${CMAKE_BINARY_DIR}/stubs")
file(MAKE_DIRECTORY "${_stubs}")
foreach(_library IN ITEMS c dl m)
  execute_process(COMMAND_ERROR_IS_FATAL ANY
    COMMAND "${ZIG}" cc -target ${ZIG_TARGET} -shared -nostdlib -fno-builtin -w -O1
            -Wl,-soname,lib${_library}.so "${CMAKE_CURRENT_LIST_DIR}/android_lib${_library}.c"
            -o "${_stubs}/lib${_library}.so")
endforeach()
set(CMAKE_SHARED_LINKER_FLAGS_INIT
  "-nostdlib -lcompiler_rt -Wl,--as-needed \"${_stubs}/libc.so\" \"${_stubs}/libdl.so\" \"${_stubs}/libm.so\"")
string(APPEND CMAKE_CXX_FLAGS_INIT " -D_LIBCPP_PROVIDES_DEFAULT_RUNE_TABLE"
  " -D_LIBCPP_REMOVE_TRANSITIVE_INCLUDES -fno-threadsafe-statics -fno-stack-protector")
