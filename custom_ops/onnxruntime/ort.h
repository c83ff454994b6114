// The boundary to ONNX Runtime, which is its C API and nothing else.
//
// Every size is checked before it enters arithmetic. A tensor that passed `input` has no negative
// dimension, and the product of its dimensions, with 1 in place of 0, is at most kMaxElements. A
// function that returns a status returns null, or one sentence: what was found, what was expected.
#pragma once

#include <onnxruntime_c_api.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "onnxruntime/counters.h"
#include "platform/pool.h"

namespace bitnet {

constexpr uint32_t kApiVersion = 17;  // the first with all that is used here
constexpr size_t kMaxRank = 8;
// More than memory holds, and 2^16 times less than the largest int64.
constexpr int64_t kMaxElements = int64_t{1} << 47;
static_assert(sizeof(size_t) == 8, "sizes of up to 2^63");

constexpr ONNXTensorElementDataType kFloat32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr ONNXTensorElementDataType kFloat16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
constexpr ONNXTensorElementDataType kBfloat16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
constexpr ONNXTensorElementDataType kUint8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
constexpr ONNXTensorElementDataType kInt8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
constexpr ONNXTensorElementDataType kInt32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;

struct OpSpec;
struct Tensor;

// One call of one node.
struct Call {
  const OrtApi* api;
  OrtKernelContext* context;
  const Kernels* kernels;
  const OpSpec* spec;
  const Tensor* constants;  // of the node: an input that is none has no name; or null
  Counters* counters;       // or null
  int64_t attribute;        // of the node, where the spec names one, or 0
  float number;             // the same
  OrtStatus* pool_status;   // why ONNX Runtime did not run a task, or null
};

struct InputSpec {
  const char* name;
  ONNXTensorElementDataType type = kFloat32;
};

struct OutputSpec {
  const char* name;
  ONNXTensorElementDataType type = kFloat32;
  bool optional = false;
};

// An array and its size.
template <typename T>
struct List {
  const T* items = nullptr;
  size_t count = 0;
  constexpr List(const T* items, size_t count) : items(items), count(count) {}
  template <size_t N>
  constexpr List(const T (&items)[N]) : items(items), count(N) {}
  constexpr const T& operator[](size_t i) const { return items[i]; }
};

struct OpSpec {
  const char* name;
  List<InputSpec> inputs;
  List<OutputSpec> outputs;
  OrtStatus* (*compute)(Call* call);
  // An attribute, an integer; may be null.
  const char* attribute = nullptr;
  bool required = true;  // whether a node must have it
  // An attribute that a node may have, a float; may be null.
  const char* number = nullptr;
  // Infers the shapes of the outputs before a run; may be null.
  OrtStatus* (*infer)(const OrtApi* api, OrtShapeInferContext* context) = nullptr;
};

extern const OpSpec kTernaryMatMul, kTernaryGroupMatMul, kTernaryFloatMatMul, kBf16MatMul,
    kInt8MatMul, kInt6MatMul, kInt4MatMul, kTwoStepMatMul, kTwoStepInt6MatMul, kTwoStepInt4MatMul,
    kGroupQueryAttention, kGroupQueryAttentionF16, kGroupQueryAttentionInt8,
    kGroupQueryAttentionInt4, kGroupQueryAttentionQKV, kGroupQueryAttentionF16QKV,
    kGroupQueryAttentionInt8QKV, kGroupQueryAttentionInt4QKV, kTernaryFeedForward,
    kTernaryNormMatMul, kRmsNorm, kAddRmsNorm, kGatedSilu, kGatedGelu, kTernaryExperts,
    kBf16Experts, kInt8Experts;

struct Tensor {
  const char* name;
  const void* data;
  size_t rank;
  int64_t dims[kMaxRank];
};

inline const float* floats(const Tensor& tensor) { return static_cast<const float*>(tensor.data); }
inline const uint8_t* bytes(const Tensor& tensor) {
  return static_cast<const uint8_t*>(tensor.data);
}
// The product of the dimensions before the last one.
size_t rows_of(const Tensor& tensor);
bool same_shape(const Tensor& a, const Tensor& b);

// For a mistake of the caller.
OrtStatus* fail(const OrtApi* api, const char* format, ...);
OrtStatus* no_such_kernel(const OrtApi* api);
OrtStatus* wrong_shape(const Call& call, const Tensor& found, const char* expected);
// For an allocation that failed.
OrtStatus* out_of_memory(const OrtApi* api, const char* name, size_t bytes);

// Input `index` of the type that the spec states.
OrtStatus* input(const Call& call, size_t index, Tensor* tensor);
// The same of a value that was asked for.
OrtStatus* input_of(const Call& call, size_t index, const OrtValue* value, Tensor* tensor);
// Input `index`, which has the shape [size].
OrtStatus* input_vector(const Call& call, size_t index, int64_t size, Tensor* tensor);

// Output `index`.
OrtStatus* output(const Call& call, size_t index, const int64_t* dims, size_t rank, void** y);
// The same for an output that a node may leave out: y is null then. ONNX Runtime keeps an output
// that nobody reads until the run ends.
OrtStatus* optional_output(const Call& call, size_t index, const int64_t* dims, size_t rank,
                           void** y);

// Memory for one call, aligned to 64 and freed at the end of the scope; `data` is null where there
// is none.
struct Scratch {
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  void* data;

 private:
  void* block_;
};

// ONNX Runtime's threads.
Pool pool_of(Call* call);

// Calls run(kernels, op, scratch, pool) with `bytes` of scratch.
template <typename Op, typename Run>
OrtStatus* run_with_scratch(Call* call, size_t bytes, const Op& op, Run run) {
  const Scratch scratch(bytes);
  if (!scratch.data) return out_of_memory(call->api, call->spec->name, bytes);
  run(*call->kernels, op, scratch.data, pool_of(call));
  return nullptr;
}

}  // namespace bitnet
