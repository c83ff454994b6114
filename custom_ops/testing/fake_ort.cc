#include "testing/fake_ort.h"

#include <pthread.h>
#include <stdlib.h>

#include <atomic>

#include "include/bitnet_onnx_ops.h"
#include "testing/pools.h"

namespace {

std::atomic<size_t> statuses{0};

OrtStatus* ORT_API_CALL create_status(OrtErrorCode code, const char* message) noexcept {
  statuses++;
  return new OrtStatus{code, message};
}

void ORT_API_CALL release_status(OrtStatus* status) noexcept {
  if (status) statuses--;
  delete status;
}

OrtStatus* ORT_API_CALL create_domain(const char*, OrtCustomOpDomain** domain) noexcept {
  *domain = new OrtCustomOpDomain;
  return nullptr;
}

void ORT_API_CALL release_domain(OrtCustomOpDomain* domain) noexcept { delete domain; }

OrtStatus* ORT_API_CALL add_op(OrtCustomOpDomain* domain, const OrtCustomOp* op) noexcept {
  domain->ops.push_back(op);
  return nullptr;
}

OrtStatus* ORT_API_CALL add_domain(OrtSessionOptions* options, OrtCustomOpDomain* domain) noexcept {
  options->domains.push_back(domain);
  return nullptr;
}

OrtStatus* ORT_API_CALL has_entry(const OrtSessionOptions* options, const char* key,
                                  int* out) noexcept {
  *out = static_cast<int>(options->entries.count(key));
  return nullptr;
}

OrtStatus* ORT_API_CALL get_entry(const OrtSessionOptions* options, const char* key, char* value,
                                  size_t* size) noexcept {
  const std::string& entry = options->entries.at(key);
  const bool fits = entry.size() + 1 <= *size;
  *size = entry.size() + 1;
  if (!fits) return create_status(ORT_INVALID_ARGUMENT, "the entry is longer than the buffer");
  memcpy(value, entry.c_str(), entry.size() + 1);
  return nullptr;
}

OrtStatus* ORT_API_CALL get_integer(const OrtKernelInfo* info, const char* name,
                                    int64_t* value) noexcept {
  if (!info->integers.count(name)) return create_status(ORT_FAIL, "there is no such attribute");
  *value = info->integers.at(name);
  return nullptr;
}

OrtStatus* ORT_API_CALL get_number(const OrtKernelInfo* info, const char* name,
                                   float* value) noexcept {
  if (!info->numbers.count(name)) return create_status(ORT_FAIL, "there is no such attribute");
  *value = info->numbers.at(name);
  return nullptr;
}

OrtStatus* ORT_API_CALL get_constant(const OrtKernelInfo* info, size_t index, int* is_constant,
                                     const OrtValue** value) noexcept {
  const auto found = info->constants.find(index);
  *is_constant = found != info->constants.end();
  *value = *is_constant ? found->second : nullptr;
  return nullptr;
}

OrtStatus* ORT_API_CALL get_input(const OrtKernelContext* context, size_t index,
                                  const OrtValue** value) noexcept {
  if (index >= context->inputs.size()) return create_status(ORT_FAIL, "there is no such input");
  const OrtValue& input = context->inputs[index];
  *value = input.missing ? nullptr : &input;
  return nullptr;
}

OrtStatus* ORT_API_CALL get_output(OrtKernelContext* context, size_t index, const int64_t* dims,
                                   size_t rank, OrtValue** value) noexcept {
  if (context->outputs.size() <= index) context->outputs.resize(index + 1);
  OrtValue* output = &context->outputs[index];
  if (output->data) return create_status(ORT_FAIL, "the output was made before");
  output->dims.assign(dims, dims + rank);
  Random random = {index};
  if (context->refuse_outputs || !allocate(output, context->output_limit, &random)) {
    return create_status(ORT_RUNTIME_EXCEPTION, "std::bad_alloc");
  }
  *value = output;
  return nullptr;
}

OrtStatus* ORT_API_CALL get_output_count(const OrtKernelContext* context, size_t* count) noexcept {
  *count = context->output_count;
  return nullptr;
}

OrtStatus* ORT_API_CALL parallel_for(const OrtKernelContext* context, void (*task)(void*, size_t),
                                     size_t count, size_t, void* argument) noexcept {
  if (context->refuse_tasks) return create_status(ORT_FAIL, "no threads");
  (context->threads ? threads : backwards)(nullptr, count, task, argument);
  return nullptr;
}

OrtStatus* ORT_API_CALL get_info(const OrtValue* value, OrtTensorTypeAndShapeInfo** info) noexcept {
  *info = new OrtTensorTypeAndShapeInfo{value->type, value->dims, {}};
  return nullptr;
}

void ORT_API_CALL release_info(OrtTensorTypeAndShapeInfo* info) noexcept { delete info; }

OrtStatus* ORT_API_CALL get_type(const OrtTensorTypeAndShapeInfo* info,
                                 ONNXTensorElementDataType* type) noexcept {
  *type = info->type;
  return nullptr;
}

OrtStatus* ORT_API_CALL get_rank(const OrtTensorTypeAndShapeInfo* info, size_t* rank) noexcept {
  *rank = info->dims.size();
  return nullptr;
}

OrtStatus* ORT_API_CALL get_dims(const OrtTensorTypeAndShapeInfo* info, int64_t* dims,
                                 size_t rank) noexcept {
  for (size_t i = 0; i < rank; i++) dims[i] = info->dims[i];
  return nullptr;
}

OrtStatus* ORT_API_CALL get_data(OrtValue* value, void** data) noexcept {
  *data = value->data;
  return nullptr;
}

OrtStatus* ORT_API_CALL get_symbols(const OrtTensorTypeAndShapeInfo* info, const char** symbols,
                                    size_t rank) noexcept {
  for (size_t i = 0; i < rank; i++) symbols[i] = info->symbols[i].c_str();
  return nullptr;
}

OrtStatus* ORT_API_CALL new_info(OrtTensorTypeAndShapeInfo** info) noexcept {
  *info = new OrtTensorTypeAndShapeInfo;
  return nullptr;
}

OrtStatus* ORT_API_CALL set_type(OrtTensorTypeAndShapeInfo* info,
                                 ONNXTensorElementDataType type) noexcept {
  info->type = type;
  return nullptr;
}

OrtStatus* ORT_API_CALL set_dims(OrtTensorTypeAndShapeInfo* info, const int64_t* dims,
                                 size_t rank) noexcept {
  info->dims.assign(dims, dims + rank);
  return nullptr;
}

OrtStatus* ORT_API_CALL set_symbols(OrtTensorTypeAndShapeInfo* info, const char** symbols,
                                    size_t rank) noexcept {
  info->symbols.clear();
  for (size_t i = 0; i < rank; i++) info->symbols.push_back(symbols[i] ? symbols[i] : "");
  return nullptr;
}

OrtStatus* ORT_API_CALL get_input_shape(const OrtShapeInferContext* context, size_t index,
                                        OrtTensorTypeAndShapeInfo** info) noexcept {
  *info = const_cast<OrtTensorTypeAndShapeInfo*>(&context->inputs[index]);
  return nullptr;
}

OrtStatus* ORT_API_CALL set_output_shape(const OrtShapeInferContext* context, size_t index,
                                         const OrtTensorTypeAndShapeInfo* info) noexcept {
  if (index > 0) return create_status(ORT_FAIL, "there is no such output");
  OrtShapeInferContext* mine = const_cast<OrtShapeInferContext*>(context);
  mine->output = *info;
  mine->inferred = true;
  return nullptr;
}

OrtApi make_api() {
  OrtApi api = {};  // what is not named here, the operators must not call
  api.CreateStatus = create_status;
  api.ReleaseStatus = release_status;
  api.CreateCustomOpDomain = create_domain;
  api.ReleaseCustomOpDomain = release_domain;
  api.CustomOpDomain_Add = add_op;
  api.AddCustomOpDomain = add_domain;
  api.HasSessionConfigEntry = has_entry;
  api.GetSessionConfigEntry = get_entry;
  api.KernelInfoGetAttribute_int64 = get_integer;
  api.KernelInfoGetAttribute_float = get_number;
  api.KernelInfoGetConstantInput_tensor = get_constant;
  api.KernelContext_GetInput = get_input;
  api.KernelContext_GetOutput = get_output;
  api.KernelContext_GetOutputCount = get_output_count;
  api.KernelContext_ParallelFor = parallel_for;
  api.GetTensorTypeAndShape = get_info;
  api.ReleaseTensorTypeAndShapeInfo = release_info;
  api.GetTensorElementType = get_type;
  api.GetDimensionsCount = get_rank;
  api.GetDimensions = get_dims;
  api.GetTensorMutableData = get_data;
  api.GetSymbolicDimensions = get_symbols;
  api.CreateTensorTypeAndShapeInfo = new_info;
  api.SetTensorElementType = set_type;
  api.SetDimensions = set_dims;
  api.SetSymbolicDimensions = set_symbols;
  api.ShapeInferContext_GetInputTypeShape = get_input_shape;
  api.ShapeInferContext_SetOutputTypeShape = set_output_shape;
  return api;
}

const OrtApi* ORT_API_CALL any_version(uint32_t) noexcept { return &fake::kApi; }
const OrtApi* ORT_API_CALL other_api(uint32_t) noexcept { return &fake::kOtherApi; }
const OrtApi* ORT_API_CALL old_version(uint32_t version) noexcept {
  return version < 17 ? &fake::kApi : nullptr;
}
const char* ORT_API_CALL version() noexcept { return "1.16.0"; }

}  // namespace

size_t item_bytes(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return 2;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return 8;
    default:
      return 1;
  }
}

size_t claimed_bytes(const OrtValue& value) {
  constexpr size_t kTooMany = size_t{1} << 62;
  size_t bytes = item_bytes(value.type);
  for (int64_t dim : value.dims) {
    if (dim == 0) return 0;
    if (dim < 0) bytes = kTooMany;
  }
  for (int64_t dim : value.dims) {
    if (bytes >= kTooMany / static_cast<size_t>(dim < 0 ? 1 : dim)) return kTooMany;
    bytes *= static_cast<size_t>(dim);
  }
  return bytes;
}

bool allocate(OrtValue* value, size_t limit, Random* random) {
  value->bytes = claimed_bytes(*value);
  if (value->bytes > limit) return false;
  value->data = malloc(value->bytes ? value->bytes : 1);  // no more, for the sanitizer
  uint8_t* data = static_cast<uint8_t*>(value->data);
  if (!data) abort();
  for (size_t i = 0; i < value->bytes; i++) data[i] = static_cast<uint8_t>(random->next());
  return true;
}

void release(OrtValue* value) {
  free(value->data);
  value->data = nullptr;
}

OrtKernelContext::~OrtKernelContext() {
  for (OrtValue& value : inputs) release(&value);
  for (OrtValue& value : outputs) release(&value);
}

namespace fake {

const OrtApi kApi = make_api(), kOtherApi = make_api();
const OrtApiBase kBase = {any_version, version}, kOtherBase = {other_api, version},
                 kOldBase = {old_version, version};

size_t live_statuses() { return statuses; }

void release_status(OrtStatus* status) { ::release_status(status); }

Session::Session(uint64_t counters, const OrtApiBase& base) {
  if (counters) options.entries[BITNET_ONNX_COUNTERS_KEY] = std::to_string(counters);
  status = RegisterCustomOps(&options, &base);
}

Session::~Session() { ::release_status(status); }

const OrtCustomOp* Session::op(const char* name) const {
  for (const OrtCustomOpDomain* domain : options.domains) {
    for (const OrtCustomOp* op : domain->ops) {
      if (strcmp(op->GetName(op), name) == 0) return op;
    }
  }
  return nullptr;
}

Node::Node(const Session& session, const char* name, const OrtKernelInfo& info)
    : op(session.op(name)) {
  if (!op) abort();
  ::release_status(op->CreateKernelV2(op, &kApi, &info, &node));
}

}  // namespace fake
