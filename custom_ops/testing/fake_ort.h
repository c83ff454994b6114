// The part of ONNX Runtime that the operators use, for tests of their boundary: memory of exact
// sizes, so that a sanitizer sees every step past it; sizes that are only claimed; failures on
// demand.
#pragma once

#include <onnxruntime_c_api.h>

#include <map>
#include <string>
#include <vector>

#include "testing/check.h"

struct OrtStatus {
  OrtErrorCode code;
  std::string message;
};

struct OrtValue {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  std::vector<int64_t> dims;
  // As many elements as the dimensions say.
  void* data = nullptr;
  size_t bytes = 0;
  bool missing = false;
};

struct OrtTensorTypeAndShapeInfo {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  std::vector<int64_t> dims;
  std::vector<std::string> symbols;  // of the dimensions, empty where there is none
};

// The attributes of a node.
struct OrtKernelInfo {
  std::map<std::string, int64_t> integers;
  std::map<std::string, float> numbers = {};
  std::map<size_t, const OrtValue*> constants = {};  // inputs that are the same in every call
};

struct OrtShapeInferContext {
  std::vector<OrtTensorTypeAndShapeInfo> inputs;
  OrtTensorTypeAndShapeInfo output;
  bool inferred = false;
};

struct OrtCustomOpDomain {
  std::vector<const OrtCustomOp*> ops;
};

struct OrtSessionOptions {
  std::map<std::string, std::string> entries;
  std::vector<const OrtCustomOpDomain*> domains;
};

// One call of a node.
struct OrtKernelContext {
  std::vector<OrtValue> inputs;
  std::vector<OrtValue> outputs;          // those that the operator asked for
  size_t output_count = 8;                // that somebody reads
  size_t output_limit = size_t{1} << 26;  // bytes: a larger output is refused
  bool refuse_outputs = false;
  bool refuse_tasks = false;
  bool threads = false;
  ~OrtKernelContext();
};

size_t item_bytes(ONNXTensorElementDataType type);
// The bytes of a tensor, at most 2^62; 2^62 where a dimension is negative.
size_t claimed_bytes(const OrtValue& value);
// Gives the tensor memory with random bytes; false where it needs more than `limit`.
bool allocate(OrtValue* value, size_t limit, Random* random);
void release(OrtValue* value);

namespace fake {

extern const OrtApi kApi, kOtherApi;
extern const OrtApiBase kBase, kOtherBase, kOldBase;  // the last has no API of version 17
size_t live_statuses();

// A session with the operators of the library.
struct Session {
  // counters: the id of counters, or 0.
  explicit Session(uint64_t counters = 0, const OrtApiBase& base = kBase);
  ~Session();
  const OrtCustomOp* op(const char* name) const;

  OrtSessionOptions options;
  OrtStatus* status;  // of the registration
};

// A node of an operator.
struct Node {
  Node(const Session& session, const char* name, const OrtKernelInfo& info = {{{"k", 1}}});
  ~Node() { op->KernelDestroy(node); }
  OrtStatus* compute(OrtKernelContext* context) { return op->KernelComputeV2(node, context); }

  const OrtCustomOp* op;
  void* node = nullptr;
};

// Null frees nothing.
void release_status(OrtStatus* status);

}  // namespace fake
