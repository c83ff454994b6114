# A cross build for 64-bit Arm Linux with Debian's GCC. Not static: the program opens a library.
include("${CMAKE_CURRENT_LIST_DIR}/../../custom_ops/cmake/aarch64-linux-gnu.cmake")
set(CMAKE_EXE_LINKER_FLAGS_INIT "")
