// The callbacks of OrtCustomOp, the same for every operator: an OpSpec tells them apart.
#include <stdlib.h>

#include "kernels/kernels.h"
#include "onnxruntime/ort.h"
#include "platform/clock.h"

namespace bitnet {
namespace {

struct State {
  const Op* op;
  const Kernels* kernels;
};

const Op* self(const OrtCustomOp* op) { return reinterpret_cast<const Op*>(op); }

const char* ORT_API_CALL name(const OrtCustomOp* op) { return self(op)->spec->name; }

const char* ORT_API_CALL provider(const OrtCustomOp*) { return nullptr; }  // the CPU

size_t ORT_API_CALL input_count(const OrtCustomOp* op) { return self(op)->spec->inputs; }

ONNXTensorElementDataType ORT_API_CALL input_type(const OrtCustomOp* op, size_t index) {
  return self(op)->spec->input[index].type;
}

size_t ORT_API_CALL output_count(const OrtCustomOp* op) { return self(op)->spec->outputs; }

ONNXTensorElementDataType ORT_API_CALL output_type(const OrtCustomOp* op, size_t index) {
  const bool cache = index == 1 || index == 2;
  return cache ? self(op)->spec->caches : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

OrtCustomOpInputOutputCharacteristic ORT_API_CALL required(const OrtCustomOp*, size_t) {
  return INPUT_OUTPUT_REQUIRED;
}

OrtCustomOpInputOutputCharacteristic ORT_API_CALL output_kind(const OrtCustomOp* op, size_t index) {
  const OpSpec& spec = *self(op)->spec;
  return spec.last_is_optional && index + 1 == spec.outputs ? INPUT_OUTPUT_OPTIONAL
                                                            : INPUT_OUTPUT_REQUIRED;
}

OrtMemType ORT_API_CALL memory(const OrtCustomOp*, size_t) { return OrtMemTypeDefault; }

int ORT_API_CALL zero(const OrtCustomOp*) { return 0; }
int ORT_API_CALL one(const OrtCustomOp*) { return 1; }

OrtStatusPtr ORT_API_CALL create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo*,
                                 void** kernel) {
  const Kernels* chosen = find_kernels(forced_name());
  if (!chosen) return no_such_kernel(api);
  State* state = static_cast<State*>(malloc(sizeof(State)));
  if (!state) return fail(api, "%s: out of memory", self(op)->spec->name);
  *state = {self(op), chosen};
  *kernel = state;
  return nullptr;
}

void ORT_API_CALL destroy(void* kernel) { free(kernel); }

OrtStatusPtr ORT_API_CALL compute(void* kernel, OrtKernelContext* context) {
  const State* state = static_cast<const State*>(kernel);
  const OpSpec& spec = *state->op->spec;
  Call call = {state->op->api, context, state->kernels, &spec, nullptr};
  const uint64_t start = clock_nanoseconds();
  OrtStatus* status = spec.compute(&call);
  state->op->nanoseconds->fetch_add(clock_nanoseconds() - start, std::memory_order_relaxed);
  if (!status) return call.pool_status;
  if (call.pool_status) call.api->ReleaseStatus(call.pool_status);
  return status;
}

OrtStatusPtr ORT_API_CALL infer_shape(const OrtCustomOp* op, OrtShapeInferContext* context) {
  return self(op)->spec->infer(self(op)->api, context);
}

}  // namespace

void init_op(Op* op, const OrtApi* api, const OpSpec* spec, std::atomic<uint64_t>* nanoseconds) {
  *op = {};
  op->api = api;
  op->spec = spec;
  op->nanoseconds = nanoseconds;
  OrtCustomOp& base = op->base;
  base.version = kApiVersion;
  base.GetName = name;
  base.GetExecutionProviderType = provider;
  base.GetInputTypeCount = input_count;
  base.GetInputType = input_type;
  base.GetInputCharacteristic = required;
  base.GetInputMemoryType = memory;
  base.GetOutputTypeCount = output_count;
  base.GetOutputType = output_type;
  base.GetOutputCharacteristic = output_kind;
  base.GetVariadicInputMinArity = base.GetVariadicInputHomogeneity = zero;
  base.GetVariadicOutputMinArity = base.GetVariadicOutputHomogeneity = zero;
  base.GetStartVersion = base.GetEndVersion = one;
  base.CreateKernelV2 = create;
  base.KernelComputeV2 = compute;
  base.KernelDestroy = destroy;
  if (spec->infer) base.InferOutputShapeFn = infer_shape;
}

}  // namespace bitnet
