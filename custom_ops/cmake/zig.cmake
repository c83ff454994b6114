# Cross builds with the clang, the linker and the C libraries of PyPI's ziglang. ../wheels.py names the
# targets:
#   cmake -S custom_ops -B build/zig -DCMAKE_TOOLCHAIN_FILE=cmake/zig.cmake \
#     -DZIG=<its program> -DZIG_TARGET=aarch64-linux-gnu.2.17
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # two targets have no C library to link

string(REGEX MATCH "^([a-z0-9_]+)-([a-z]+)" _ "${ZIG_TARGET}")
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})
set(_linux Linux)
set(_macos Darwin)
set(_ios Generic)  # CMake's iOS needs Apple's SDK
set(_windows Windows)
set(CMAKE_SYSTEM_NAME ${_${CMAKE_MATCH_2}})
# zig compiles the libraries that it links from source. Without the first two options, the first probe of
# CMake would have it compile a sanitizer and a C++ library, for minutes. -g0 leaves out debug data.
set(_leave_out -fno-sanitize=undefined -nostdlib++ -g0)
set(CMAKE_C_COMPILER "${ZIG}" cc ${_leave_out})
set(CMAKE_CXX_COMPILER "${ZIG}" c++ ${_leave_out})
# CMake adds --target. Its first probe only compiles: to link, zig would make a C library.
set(CMAKE_C_COMPILER_TARGET ${ZIG_TARGET})
set(CMAKE_CXX_COMPILER_TARGET ${ZIG_TARGET})
# CMake wants one program for each tool. The linker of macOS needs the index that this `ar` writes.
foreach(_tool IN ITEMS ar ranlib)
  string(TOUPPER ${_tool} _variable)
  set(CMAKE_${_variable} "${CMAKE_BINARY_DIR}/zig-${_tool}")
  file(WRITE "${CMAKE_${_variable}}" "#!/bin/sh\nexec '${ZIG}' ${_tool} \"$@\"\n")
  file(CHMOD "${CMAKE_${_variable}}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endforeach()
# CMake wants Apple's tool to change the name of a library on installation. The name is right already.
set(CMAKE_INSTALL_NAME_TOOL true)
set(CMAKE_INSTALL_NAME_DIR "@rpath")
set(CMAKE_BUILD_WITH_INSTALL_NAME_DIR ON)

# CMake links a dozen libraries of Windows to everything. zig would have to make each of them.
set(CMAKE_C_STANDARD_LIBRARIES "" CACHE STRING "")
set(CMAKE_CXX_STANDARD_LIBRARIES "" CACHE STRING "")

get_filename_component(_zig_folder "${ZIG}" DIRECTORY)
set(_include "${_zig_folder}/lib/libc/include")
if(ZIG_TARGET MATCHES "android")
  # zig knows the calling convention of Android but has no bionic. The few C functions that the library
  # calls are declared by musl, with the same types. The linker finds them in a libc.so that holds only
  # their names, so that any other function would be an undefined symbol.
  string(APPEND CMAKE_CXX_FLAGS_INIT
    " -isystem ${_include}/${CMAKE_SYSTEM_PROCESSOR}-linux-musl -isystem ${_include}/generic-musl")
  set(_stub "${CMAKE_BINARY_DIR}/libc.so")
  execute_process(COMMAND_ERROR_IS_FATAL ANY
    COMMAND "${ZIG}" cc -target ${ZIG_TARGET} -shared -nostdlib -fno-builtin -w -O1 -Wl,-soname,libc.so
            "${CMAKE_CURRENT_LIST_DIR}/android_libc.c" -o "${_stub}")
  # The library of the compiler is linked in: it has atomic additions for CPUs with and without LSE.
  set(CMAKE_SHARED_LINKER_FLAGS_INIT "-nostdlib -lcompiler_rt \"${_stub}\"")
elseif(ZIG_TARGET MATCHES "ios")
  # An archive links nothing, so only the headers of Apple's SDK are needed: macOS has the same.
  string(APPEND CMAKE_CXX_FLAGS_INIT " -isystem ${_include}/any-darwin-any")
  set(BUILD_SHARED_LIBS OFF)  # an app must not load a library by its path
endif()
