// CMake gives the version as a flag.
#define BITNET_ONNX_VERSION "0.2.0"
#include "onnxruntime/register.cc"
