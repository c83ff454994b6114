#include "onnxruntime/ort.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "operators/ternary.h"
#include "platform/sizes.h"

namespace bitnet {

OrtStatus* fail(const OrtApi* api, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return api->CreateStatus(ORT_INVALID_ARGUMENT, text);
}

OrtStatus* no_such_kernel(const OrtApi* api) {
  return fail(api, "BITNET_ONNX_KERNEL is \"%.100s\", but this CPU can run only: %s", forced_name(),
              offered_names());
}

static const char* type_name(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return "float32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return "float16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return "uint8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return "int8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return "bfloat16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return "int32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return "int64";
    default:
      return "another type";
  }
}

static OrtStatus* describe(const Call& call, const OpSpec& spec, size_t index,
                           const OrtTensorTypeAndShapeInfo* info, Tensor* tensor) {
  ONNXTensorElementDataType type;
  if (OrtStatus* s = call.api->GetTensorElementType(info, &type)) return s;
  if (OrtStatus* s = call.api->GetDimensionsCount(info, &tensor->rank)) return s;
  const InputSpec& expected = spec.input[index];
  if (type != expected.type) {
    return fail(call.api, "%s: %s is %s, expected %s", spec.name, expected.name, type_name(type),
                type_name(expected.type));
  }
  if (tensor->rank > kMaxRank) {
    return fail(call.api, "%s: %s has %zu dimensions, expected at most %zu", spec.name,
                expected.name, tensor->rank, kMaxRank);
  }
  return call.api->GetDimensions(info, tensor->dims, tensor->rank);
}

OrtStatus* input(const Call& call, const OpSpec& spec, size_t index, Tensor* tensor) {
  const OrtValue* value = nullptr;
  if (OrtStatus* s = call.api->KernelContext_GetInput(call.context, index, &value)) return s;
  if (!value) return fail(call.api, "%s: %s is missing", spec.name, spec.input[index].name);
  OrtTensorTypeAndShapeInfo* info = nullptr;
  if (OrtStatus* s = call.api->GetTensorTypeAndShape(value, &info)) return s;
  OrtStatus* status = describe(call, spec, index, info, tensor);
  call.api->ReleaseTensorTypeAndShapeInfo(info);
  if (status) return status;
  void* data = nullptr;  // the C API has no accessor for constant data before version 23
  status = call.api->GetTensorMutableData(const_cast<OrtValue*>(value), &data);
  tensor->data = data;
  tensor->name = spec.input[index].name;
  return status;
}

int64_t elements(const Tensor& tensor) {
  int64_t count = 1;
  for (size_t i = 0; i < tensor.rank; i++) count *= tensor.dims[i];
  return count;
}

size_t rows_of(const Tensor& tensor) {
  size_t rows = 1;
  for (size_t i = 0; i + 1 < tensor.rank; i++) rows *= static_cast<size_t>(tensor.dims[i]);
  return rows;
}

bool same_shape(const Tensor& a, const Tensor& b) {
  return a.rank == b.rank && memcmp(a.dims, b.dims, a.rank * sizeof a.dims[0]) == 0;
}

OrtStatus* wrong_shape(const Call& call, const Tensor& found, const char* expected) {
  char shape[128] = "[";
  size_t end = 1;
  for (size_t i = 0; i < found.rank && end < sizeof shape; i++) {
    end += static_cast<size_t>(snprintf(shape + end, sizeof shape - end, "%s%lld", i ? ", " : "",
                                        static_cast<long long>(found.dims[i])));
  }
  return fail(call.api, "%s: %s has the shape %s], expected %s", call.spec->name, found.name, shape,
              expected);
}

OrtStatus* input_vector(const Call& call, const OpSpec& spec, size_t index, int64_t size,
                        Tensor* tensor) {
  if (OrtStatus* s = input(call, spec, index, tensor)) return s;
  if (tensor->rank == 1 && tensor->dims[0] == size) return nullptr;
  return fail(call.api, "%s: %s has %zu dimensions and %lld elements, expected shape [%lld]",
              spec.name, spec.input[index].name, tensor->rank,
              static_cast<long long>(elements(*tensor)), static_cast<long long>(size));
}

OrtStatus* optional_output(const Call& call, size_t index, const int64_t* dims, size_t rank,
                           void** y) {
  size_t count = 0;
  *y = nullptr;
  if (OrtStatus* s = call.api->KernelContext_GetOutputCount(call.context, &count)) return s;
  return index < count ? output(call, index, dims, rank, y) : nullptr;
}

OrtStatus* inputs_x_w(const Call& call, const OpSpec& spec, Tensor* x, Tensor* w, size_t* m,
                      size_t* k) {
  if (OrtStatus* s = input(call, spec, 0, x)) return s;
  if (OrtStatus* s = input(call, spec, 1, w)) return s;
  if (x->rank < 1) {
    return fail(call.api, "%s: X is a scalar, expected dimensions [..., K]", spec.name);
  }
  const int64_t last = x->dims[x->rank - 1];
  if (last < 1 || last > static_cast<int64_t>(kMaxK)) {
    return fail(call.api, "%s: X has %lld columns (K), expected 1 to %zu", spec.name,
                static_cast<long long>(last), kMaxK);
  }
  if (w->rank != 2) {
    return fail(call.api, "%s: %s has %zu dimensions, expected 2", spec.name, spec.input[1].name,
                w->rank);
  }
  *k = static_cast<size_t>(last);
  *m = rows_of(*x);
  return nullptr;
}

OrtStatus* inputs_x_packed(const Call& call, const OpSpec& spec, Tensor* x, Tensor* w, size_t* m,
                           size_t* k) {
  if (OrtStatus* s = inputs_x_w(call, spec, x, w, m, k)) return s;
  const size_t row_bytes = blocks_of(*k) * kBlockBytes;
  if (w->dims[1] == static_cast<int64_t>(row_bytes)) return nullptr;
  return fail(call.api, "%s: %s has %lld columns, expected %zu (64 * ceil(K / 256), K = %zu)",
              spec.name, spec.input[1].name, static_cast<long long>(w->dims[1]), row_bytes, *k);
}

// The shape [..., N] of the output goes out only when each dimension has a value or a symbol:
// ONNX Runtime would store an unknown one as -1.
static OrtStatus* infer(const OrtApi* api, OrtShapeInferContext* context,
                        const OrtTensorTypeAndShapeInfo* x, const OrtTensorTypeAndShapeInfo* w) {
  int64_t dims[kMaxRank], w_dims[2];
  const char* symbols[kMaxRank];
  const char* w_symbols[2];
  size_t rank = 0, w_rank = 0;
  if (OrtStatus* s = api->GetDimensionsCount(x, &rank)) return s;
  if (OrtStatus* s = api->GetDimensionsCount(w, &w_rank)) return s;
  if (rank < 1 || rank > kMaxRank || w_rank != 2) return nullptr;  // checked when it runs
  if (OrtStatus* s = api->GetDimensions(x, dims, rank)) return s;
  if (OrtStatus* s = api->GetDimensions(w, w_dims, 2)) return s;
  if (OrtStatus* s = api->GetSymbolicDimensions(x, symbols, rank)) return s;
  if (OrtStatus* s = api->GetSymbolicDimensions(w, w_symbols, 2)) return s;
  dims[rank - 1] = w_dims[0];
  symbols[rank - 1] = w_symbols[0];
  for (size_t i = 0; i < rank; i++) {
    if (dims[i] < 0 && (!symbols[i] || !symbols[i][0])) return nullptr;
  }
  OrtTensorTypeAndShapeInfo* y = nullptr;
  if (OrtStatus* s = api->CreateTensorTypeAndShapeInfo(&y)) return s;
  OrtStatus* status = api->SetTensorElementType(y, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
  if (!status) status = api->SetDimensions(y, dims, rank);
  if (!status) status = api->SetSymbolicDimensions(y, symbols, rank);
  if (!status) status = api->ShapeInferContext_SetOutputTypeShape(context, 0, y);
  api->ReleaseTensorTypeAndShapeInfo(y);
  return status;
}

OrtStatus* infer_x_w(const OrtApi* api, OrtShapeInferContext* context) {
  OrtTensorTypeAndShapeInfo *x = nullptr, *w = nullptr;  // owned by the context
  if (OrtStatus* s = api->ShapeInferContext_GetInputTypeShape(context, 0, &x)) return s;
  if (OrtStatus* s = api->ShapeInferContext_GetInputTypeShape(context, 1, &w)) return s;
  return x && w ? infer(api, context, x, w) : nullptr;
}

OrtStatus* output(const Call& call, const Tensor& x, int64_t n, float** y) {
  int64_t dims[kMaxRank];
  for (size_t i = 0; i + 1 < x.rank; i++) dims[i] = x.dims[i];
  dims[x.rank - 1] = n;
  void* data = nullptr;
  OrtStatus* status = output(call, 0, dims, x.rank, &data);
  *y = static_cast<float*>(data);
  return status;
}

OrtStatus* output(const Call& call, size_t index, const int64_t* dims, size_t rank, void** y) {
  OrtValue* value = nullptr;
  if (OrtStatus* s = call.api->KernelContext_GetOutput(call.context, index, dims, rank, &value)) {
    return s;
  }
  return call.api->GetTensorMutableData(value, y);
}

Scratch::Scratch(size_t bytes) : data(nullptr), block_(malloc(bytes + 64)) {
  if (!block_) return;
  const uintptr_t address = reinterpret_cast<uintptr_t>(block_);
  data = static_cast<char*>(block_) + (64 - address % 64);
}

Scratch::~Scratch() { free(block_); }

static void run(void* self, size_t count, void (*task)(void*, size_t), void* argument) {
  Call* call = static_cast<Call*>(self);
  OrtStatus* status = call->api->KernelContext_ParallelFor(call->context, task, count, 0, argument);
  if (call->pool_status) call->api->ReleaseStatus(call->pool_status);
  call->pool_status = status;
}

Pool pool_of(Call* call) { return {run, call}; }

}  // namespace bitnet
