// For Swift there is nothing here: the engine includes bitnet_onnx_ops.h where custom_ops has it.
// As a header of this module C++ could not include it.
