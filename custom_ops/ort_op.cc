// The callbacks of OrtCustomOp, the same for every operator: an OpSpec tells them apart.
#include <stdlib.h>

#include "dispatch.h"
#include "ort.h"

namespace bitnet {
namespace {

struct State {
  const Op* op;
  const Kernel* kernel;
};

const Op* self(const OrtCustomOp* op) { return reinterpret_cast<const Op*>(op); }

const char* ORT_API_CALL name(const OrtCustomOp* op) { return self(op)->spec->name; }

const char* ORT_API_CALL provider(const OrtCustomOp*) { return nullptr; }  // the CPU

size_t ORT_API_CALL input_count(const OrtCustomOp* op) { return self(op)->spec->inputs; }

ONNXTensorElementDataType ORT_API_CALL input_type(const OrtCustomOp* op, size_t index) {
  return self(op)->spec->types[index];
}

size_t ORT_API_CALL output_count(const OrtCustomOp*) { return 1; }

ONNXTensorElementDataType ORT_API_CALL output_type(const OrtCustomOp*, size_t) {
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

OrtCustomOpInputOutputCharacteristic ORT_API_CALL required(const OrtCustomOp*, size_t) {
  return INPUT_OUTPUT_REQUIRED;
}

OrtMemType ORT_API_CALL memory(const OrtCustomOp*, size_t) { return OrtMemTypeDefault; }

int ORT_API_CALL zero(const OrtCustomOp*) { return 0; }
int ORT_API_CALL one(const OrtCustomOp*) { return 1; }

OrtStatusPtr ORT_API_CALL create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo*,
                                 void** kernel) {
  const Kernel* chosen = find_kernel(forced_name());
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
  Call call = {state->op->api, context, state->kernel, nullptr};
  OrtStatus* status = state->op->spec->compute(&call);
  if (!status) return call.pool_status;
  if (call.pool_status) call.api->ReleaseStatus(call.pool_status);
  return status;
}

// The shape [..., N] of the output goes out only when each dimension has a value or a symbol:
// ONNX Runtime would store an unknown one as -1.
OrtStatus* infer(const OrtApi* api, OrtShapeInferContext* context,
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

OrtStatusPtr ORT_API_CALL infer_shape(const OrtCustomOp* op, OrtShapeInferContext* context) {
  const OrtApi* api = self(op)->api;
  OrtTensorTypeAndShapeInfo *x = nullptr, *w = nullptr;  // owned by the context
  if (OrtStatus* s = api->ShapeInferContext_GetInputTypeShape(context, 0, &x)) return s;
  if (OrtStatus* s = api->ShapeInferContext_GetInputTypeShape(context, 1, &w)) return s;
  return x && w ? infer(api, context, x, w) : nullptr;
}

}  // namespace

void init_op(Op* op, const OrtApi* api, const OpSpec* spec) {
  *op = {};
  op->api = api;
  op->spec = spec;
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
  base.GetOutputCharacteristic = required;
  base.GetVariadicInputMinArity = base.GetVariadicInputHomogeneity = zero;
  base.GetVariadicOutputMinArity = base.GetVariadicOutputHomogeneity = zero;
  base.GetStartVersion = base.GetEndVersion = one;
  base.CreateKernelV2 = create;
  base.KernelComputeV2 = compute;
  base.KernelDestroy = destroy;
  base.InferOutputShapeFn = infer_shape;
}

}  // namespace bitnet
