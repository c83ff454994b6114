// What the operators share at the boundary to ONNX Runtime: its C API, nothing else.
#pragma once

#include <onnxruntime_c_api.h>
#include <stddef.h>
#include <stdint.h>

#include <atomic>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

constexpr uint32_t kApiVersion = 17;  // the first with all that is used here
constexpr size_t kMaxRank = 8;

struct OpSpec;

// One call of one node.
struct Call {
  const OrtApi* api;
  OrtKernelContext* context;
  const Kernels* kernels;
  const OpSpec* spec;
  OrtStatus* pool_status;  // why ONNX Runtime refused to run a task, or null
};

constexpr size_t kMaxInputs = 11;

struct InputSpec {
  const char* name;
  ONNXTensorElementDataType type;
};

struct OpSpec {
  const char* name;
  size_t inputs;
  InputSpec input[kMaxInputs];
  size_t outputs;
  OrtStatus* (*compute)(Call* call);
  // What is known of the outputs' shapes before a run; null where nothing is said.
  OrtStatus* (*infer)(const OrtApi* api, OrtShapeInferContext* context);
  // Of the second and the third output; the others are float32.
  ONNXTensorElementDataType caches = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  bool last_is_optional = false;  // the last output
};

extern const OpSpec kTernaryMatMul, kTernaryGroupMatMul, kTernaryFloatMatMul, kBf16MatMul,
    kInt8MatMul, kTwoStepMatMul, kGroupQueryAttention, kGroupQueryAttentionF16,
    kGroupQueryAttentionInt8, kGroupQueryAttentionQKV, kGroupQueryAttentionF16QKV,
    kGroupQueryAttentionInt8QKV, kTernaryFeedForward, kTernaryNormMatMul, kRmsNorm, kAddRmsNorm;

// What ONNX Runtime knows an operator by. It must outlive every session.
struct Op {
  OrtCustomOp base;  // first, so that ONNX Runtime's pointer to it is a pointer to Op
  const OrtApi* api;
  const OpSpec* spec;
  std::atomic<uint64_t>* nanoseconds;  // spent in compute by all nodes of all sessions
};
void init_op(Op* op, const OrtApi* api, const OpSpec* spec, std::atomic<uint64_t>* nanoseconds);

struct Tensor {
  const char* name;
  const void* data;
  size_t rank;
  int64_t dims[kMaxRank];
};

int64_t elements(const Tensor& tensor);
// How often the last dimension occurs: the product of the others.
size_t rows_of(const Tensor& tensor);
bool same_shape(const Tensor& a, const Tensor& b);

// Null, or a status with one sentence.
OrtStatus* fail(const OrtApi* api, const char* format, ...);
OrtStatus* no_such_kernel(const OrtApi* api);
OrtStatus* wrong_shape(const Call& call, const Tensor& found, const char* expected);
// Input `index` of the type that the spec states.
OrtStatus* input(const Call& call, const OpSpec& spec, size_t index, Tensor* tensor);
// Input `index`, which has the shape [size].
OrtStatus* input_vector(const Call& call, const OpSpec& spec, size_t index, int64_t size,
                        Tensor* tensor);
// Inputs 0 and 1: x [..., k] and w of rank 2; m is the product of x's other dimensions.
OrtStatus* inputs_x_w(const Call& call, const OpSpec& spec, Tensor* x, Tensor* w, size_t* m,
                      size_t* k);
// The same, and w is packed: it has 64 * ceil(k / 256) columns.
OrtStatus* inputs_x_packed(const Call& call, const OpSpec& spec, Tensor* x, Tensor* w, size_t* m,
                           size_t* k);
// Output 0 with x's dimensions, the last one replaced by n, as it is inferred and as it is made.
OrtStatus* infer_x_w(const OrtApi* api, OrtShapeInferContext* context);
OrtStatus* output(const Call& call, const Tensor& x, int64_t n, float** y);
OrtStatus* output(const Call& call, size_t index, const int64_t* dims, size_t rank, void** y);
// The same of one that a node may leave out: y is null then. ONNX Runtime keeps an output that
// nobody reads until the run ends.
OrtStatus* optional_output(const Call& call, size_t index, const int64_t* dims, size_t rank,
                           void** y);

// Memory for one call, aligned to 64, freed at the end of the scope; `data` is null without memory.
struct Scratch {
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  void* data;

 private:
  void* block_;
};

// ONNX Runtime's own threads.
Pool pool_of(Call* call);

}  // namespace bitnet
