# Cross builds with the clang, the linker and the C libraries that PyPI's ziglang carries; ../wheels.py
# names the targets:
#   cmake -S custom_ops -B build/zig -DCMAKE_TOOLCHAIN_FILE=cmake/zig.cmake \
#     -DZIG=<its program> -DZIG_TARGET=aarch64-linux-gnu.2.17
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # of two targets there is no C library to link

string(REGEX MATCH "^([a-z0-9_]+)-([a-z]+)" _ "${ZIG_TARGET}")
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})
set(_linux Linux)
set(_macos Darwin)
set(_ios Generic)  # CMake's iOS needs Apple's SDK
set(_windows Windows)
set(CMAKE_SYSTEM_NAME ${_${CMAKE_MATCH_2}})
# zig compiles what it links to from source: without these two, CMake's first probe would have it compile
# a sanitizer's library and a C++ library, for minutes. -g0: it adds what debuggers want unless told not to.
set(_leave_out -fno-sanitize=undefined -nostdlib++ -g0)
set(CMAKE_C_COMPILER "${ZIG}" cc ${_leave_out})
set(CMAKE_CXX_COMPILER "${ZIG}" c++ ${_leave_out})
# CMake adds --target, and its first probe compiles only: linked, it would make a C library of its own.
set(CMAKE_C_COMPILER_TARGET ${ZIG_TARGET})
set(CMAKE_CXX_COMPILER_TARGET ${ZIG_TARGET})
# CMake wants one program each. A Mac's linker needs the index that this `ar` writes.
foreach(_tool IN ITEMS ar ranlib)
  string(TOUPPER ${_tool} _variable)
  set(CMAKE_${_variable} "${CMAKE_BINARY_DIR}/zig-${_tool}")
  file(WRITE "${CMAKE_${_variable}}" "#!/bin/sh\nexec '${ZIG}' ${_tool} \"$@\"\n")
  file(CHMOD "${CMAKE_${_variable}}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endforeach()
# CMake asks for Apple's tool to change a library's own name on installation: it has the right one.
set(CMAKE_INSTALL_NAME_TOOL true)
set(CMAKE_INSTALL_NAME_DIR "@rpath")
set(CMAKE_BUILD_WITH_INSTALL_NAME_DIR ON)

# CMake links a dozen of Windows' libraries to everything; zig would first make each of them.
set(CMAKE_C_STANDARD_LIBRARIES "" CACHE STRING "")
set(CMAKE_CXX_STANDARD_LIBRARIES "" CACHE STRING "")

get_filename_component(_zig_folder "${ZIG}" DIRECTORY)
set(_include "${_zig_folder}/lib/libc/include")
if(ZIG_TARGET MATCHES "android")
  # zig knows Android's rules of calling but has no bionic. The declarations of the few C functions that
  # the library calls are musl's, the same types; the linker finds them in a libc.so that holds their
  # names alone. Nothing else can be called by accident: it would be an undefined symbol.
  string(APPEND CMAKE_CXX_FLAGS_INIT
    " -isystem ${_include}/${CMAKE_SYSTEM_PROCESSOR}-linux-musl -isystem ${_include}/generic-musl")
  set(_stub "${CMAKE_BINARY_DIR}/libc.so")
  execute_process(COMMAND_ERROR_IS_FATAL ANY
    COMMAND "${ZIG}" cc -target ${ZIG_TARGET} -shared -nostdlib -fno-builtin -w -O1 -Wl,-soname,libc.so
            "${CMAKE_CURRENT_LIST_DIR}/android_libc.c" -o "${_stub}")
  # The compiler's own library, linked in: atomic additions for processors with and without LSE.
  set(CMAKE_SHARED_LINKER_FLAGS_INIT "-nostdlib -lcompiler_rt \"${_stub}\"")
elseif(ZIG_TARGET MATCHES "ios")
  # An archive links nothing, so Apple's SDK is not needed, but for headers: macOS has the same.
  string(APPEND CMAKE_CXX_FLAGS_INIT " -isystem ${_include}/any-darwin-any")
  set(BUILD_SHARED_LIBS OFF)  # an app may not load a library by its path
endif()
