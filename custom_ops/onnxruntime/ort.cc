#include "onnxruntime/ort.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace bitnet {

OrtStatus* fail(const OrtApi* api, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return api->CreateStatus(ORT_INVALID_ARGUMENT, text);
}

OrtStatus* out_of_memory(const OrtApi* api, const char* name, size_t bytes) {
  char text[128];
  snprintf(text, sizeof text, "%s: out of memory, %zu bytes could not be had", name, bytes);
  return api->CreateStatus(ORT_RUNTIME_EXCEPTION, text);  // as ONNX Runtime's own
}

OrtStatus* no_such_kernel(const OrtApi* api) {
  return fail(api, "BITNET_ONNX_KERNEL is \"%.100s\", but this CPU can run only: %s", forced_name(),
              offered_names());
}

static const char* type_name(ONNXTensorElementDataType type) {
  switch (type) {
    case kFloat32:
      return "float32";
    case kFloat16:
      return "float16";
    case kUint8:
      return "uint8";
    case kInt8:
      return "int8";
    case kBfloat16:
      return "bfloat16";
    case kInt32:
      return "int32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return "int64";
    default:
      return "another type";
  }
}

OrtStatus* wrong_shape(const Call& call, const Tensor& found, const char* expected) {
  char shape[192] = "";
  size_t end = 0;
  for (size_t i = 0; i < found.rank; i++) {
    end += static_cast<size_t>(snprintf(shape + end, sizeof shape - end, "%s%lld", i ? ", " : "",
                                        static_cast<long long>(found.dims[i])));
  }
  return fail(call.api, "%s: %s has the shape [%s], expected %s", call.spec->name, found.name,
              shape, expected);
}

// Refuses negative dimensions and too many elements, with 1 in place of 0, so that the product of
// any of the dimensions fits.
static OrtStatus* check_dims(const Call& call, const Tensor& tensor) {
  int64_t count = 1;
  for (size_t i = 0; i < tensor.rank; i++) {
    const int64_t dim = tensor.dims[i];
    if (dim < 0) return wrong_shape(call, tensor, "no negative dimension");
    if (dim > kMaxElements / count) return wrong_shape(call, tensor, "at most 2^47 elements");
    if (dim > 0) count *= dim;
  }
  return nullptr;
}

static OrtStatus* describe(const Call& call, const InputSpec& expected,
                           const OrtTensorTypeAndShapeInfo* info, Tensor* tensor) {
  ONNXTensorElementDataType type;
  if (OrtStatus* s = call.api->GetTensorElementType(info, &type)) return s;
  if (OrtStatus* s = call.api->GetDimensionsCount(info, &tensor->rank)) return s;
  if (type != expected.type) {
    return fail(call.api, "%s: %s is %s, expected %s", call.spec->name, expected.name,
                type_name(type), type_name(expected.type));
  }
  if (tensor->rank > kMaxRank) {
    return fail(call.api, "%s: %s has %zu dimensions, expected at most %zu", call.spec->name,
                expected.name, tensor->rank, kMaxRank);
  }
  if (OrtStatus* s = call.api->GetDimensions(info, tensor->dims, tensor->rank)) return s;
  return check_dims(call, *tensor);
}

OrtStatus* input_of(const Call& call, size_t index, const OrtValue* value, Tensor* tensor) {
  const InputSpec& expected = call.spec->inputs[index];
  OrtTensorTypeAndShapeInfo* info = nullptr;
  tensor->name = expected.name;
  if (OrtStatus* s = call.api->GetTensorTypeAndShape(value, &info)) return s;
  OrtStatus* status = describe(call, expected, info, tensor);
  call.api->ReleaseTensorTypeAndShapeInfo(info);
  if (status) return status;
  void* data = nullptr;  // the C API has no accessor for constant data before version 23
  status = call.api->GetTensorMutableData(const_cast<OrtValue*>(value), &data);
  tensor->data = data;
  return status;
}

OrtStatus* input(const Call& call, size_t index, Tensor* tensor) {
  if (call.constants && call.constants[index].name) {
    *tensor = call.constants[index];
    return nullptr;
  }
  const OrtValue* value = nullptr;
  if (OrtStatus* s = call.api->KernelContext_GetInput(call.context, index, &value)) return s;
  if (value) return input_of(call, index, value, tensor);
  return fail(call.api, "%s: %s is missing, expected a tensor", call.spec->name,
              call.spec->inputs[index].name);
}

size_t rows_of(const Tensor& tensor) {
  size_t rows = 1;
  for (size_t i = 0; i + 1 < tensor.rank; i++) rows *= static_cast<size_t>(tensor.dims[i]);
  return rows;
}

bool same_shape(const Tensor& a, const Tensor& b) {
  return a.rank == b.rank && memcmp(a.dims, b.dims, a.rank * sizeof a.dims[0]) == 0;
}

OrtStatus* input_vector(const Call& call, size_t index, int64_t size, Tensor* tensor) {
  if (OrtStatus* s = input(call, index, tensor)) return s;
  if (tensor->rank == 1 && tensor->dims[0] == size) return nullptr;
  int64_t elements = 1;
  for (size_t i = 0; i < tensor->rank; i++) elements *= tensor->dims[i];
  return fail(call.api, "%s: %s has %zu dimensions and %lld elements, expected shape [%lld]",
              call.spec->name, tensor->name, tensor->rank, static_cast<long long>(elements),
              static_cast<long long>(size));
}

OrtStatus* output(const Call& call, size_t index, const int64_t* dims, size_t rank, void** y) {
  Tensor tensor = {call.spec->outputs[index].name, nullptr, rank, {}};
  memcpy(tensor.dims, dims, rank * sizeof dims[0]);
  if (OrtStatus* s = check_dims(call, tensor)) return s;
  OrtValue* value = nullptr;
  if (OrtStatus* s = call.api->KernelContext_GetOutput(call.context, index, dims, rank, &value)) {
    return s;
  }
  if (value) return call.api->GetTensorMutableData(value, y);
  *y = nullptr;
  if (call.spec->outputs[index].optional) return nullptr;
  return fail(call.api, "%s: there is no output %s, expected one", call.spec->name, tensor.name);
}

OrtStatus* optional_output(const Call& call, size_t index, const int64_t* dims, size_t rank,
                           void** y) {
  size_t count = 0;
  *y = nullptr;
  if (OrtStatus* s = call.api->KernelContext_GetOutputCount(call.context, &count)) return s;
  return index < count ? output(call, index, dims, rank, y) : nullptr;
}

Scratch::Scratch(size_t bytes) : data(nullptr), block_(malloc(bytes + 64)) {
  if (!block_) return;
  const uintptr_t address = reinterpret_cast<uintptr_t>(block_);
  data = static_cast<char*>(block_) + (64 - address % 64);
}

Scratch::~Scratch() { free(block_); }

// Tasks that ONNX Runtime refuses run here, so that no later step reads what none of them wrote.
// The call fails all the same.
static void run(void* self, size_t count, void (*task)(void*, size_t), void* argument) {
  Call* call = static_cast<Call*>(self);
  OrtStatus* status = call->api->KernelContext_ParallelFor(call->context, task, count, 0, argument);
  if (!status) return;
  for (size_t i = 0; i < count; i++) task(argument, i);
  if (call->pool_status) call->api->ReleaseStatus(call->pool_status);
  call->pool_status = status;
}

Pool pool_of(Call* call) { return {run, call}; }

}  // namespace bitnet
