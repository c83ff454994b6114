// The callbacks of OrtCustomOp. They are the same for every operator; an OpSpec says which it is.
#include <stdlib.h>

#include "onnxruntime/registration.h"
#include "platform/clock.h"

namespace bitnet {
namespace {

// A node, and behind it a Tensor for each input.
struct Node {
  const Op* op;
  const Kernels* kernels;
  int64_t attribute;
  float number;
  Tensor* constants() { return reinterpret_cast<Tensor*>(this + 1); }
};
static_assert(sizeof(Node) % alignof(Tensor) == 0, "tensors behind a node");

const Op* self(const OrtCustomOp* op) { return reinterpret_cast<const Op*>(op); }

const char* ORT_API_CALL name(const OrtCustomOp* op) { return self(op)->spec->name; }

const char* ORT_API_CALL provider(const OrtCustomOp*) { return nullptr; }  // the CPU

size_t ORT_API_CALL inputs(const OrtCustomOp* op) { return self(op)->spec->inputs.count; }

ONNXTensorElementDataType ORT_API_CALL input_type(const OrtCustomOp* op, size_t index) {
  return self(op)->spec->inputs[index].type;
}

size_t ORT_API_CALL outputs(const OrtCustomOp* op) { return self(op)->spec->outputs.count; }

ONNXTensorElementDataType ORT_API_CALL output_type(const OrtCustomOp* op, size_t index) {
  return self(op)->spec->outputs[index].type;
}

OrtCustomOpInputOutputCharacteristic ORT_API_CALL required(const OrtCustomOp*, size_t) {
  return INPUT_OUTPUT_REQUIRED;
}

OrtCustomOpInputOutputCharacteristic ORT_API_CALL output_kind(const OrtCustomOp* op, size_t index) {
  return self(op)->spec->outputs[index].optional ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
}

OrtMemType ORT_API_CALL memory(const OrtCustomOp*, size_t) { return OrtMemTypeDefault; }

int ORT_API_CALL zero(const OrtCustomOp*) { return 0; }
int ORT_API_CALL one(const OrtCustomOp*) { return 1; }

// The attributes that the spec names, or 0.
OrtStatus* attributes_of(const OrtApi* api, const OpSpec& spec, const OrtKernelInfo* info,
                         int64_t* value, float* number) {
  *value = 0;
  *number = 0;
  if (spec.number) {
    OrtStatus* status = api->KernelInfoGetAttribute_float(info, spec.number, number);
    if (status) {
      *number = 0;
      api->ReleaseStatus(status);
    }
  }
  if (!spec.attribute) return nullptr;
  OrtStatus* status = api->KernelInfoGetAttribute_int64(info, spec.attribute, value);
  if (!status) return nullptr;
  api->ReleaseStatus(status);
  *value = 0;
  if (!spec.required) return nullptr;
  return fail(api, "%s: the attribute %s is missing, expected an integer", spec.name,
              spec.attribute);
}

// The inputs that are the same in every call: their shapes are asked for once. What is wrong with
// one, the first call says.
void find_constants(const Op& op, const OrtApi* api, const OrtKernelInfo* info, Tensor* constants) {
  Call call = {};
  call.api = api;
  call.spec = op.spec;
  for (size_t i = 0; i < op.spec->inputs.count; i++) {
    constants[i] = {};
    int constant = 0;
    const OrtValue* value = nullptr;
    OrtStatus* status = api->KernelInfoGetConstantInput_tensor(info, i, &constant, &value);
    if (!status && constant && value) status = input_of(call, i, value, constants + i);
    if (!status) continue;
    api->ReleaseStatus(status);
    constants[i].name = nullptr;
  }
}

OrtStatusPtr ORT_API_CALL create(const OrtCustomOp* base, const OrtApi* api,
                                 const OrtKernelInfo* info, void** node) {
  const Op* op = self(base);
  const Kernels* kernels = find_kernels(forced_name());
  if (!kernels) return no_such_kernel(api);
  int64_t attribute;
  float number;
  if (OrtStatus* s = attributes_of(api, *op->spec, info, &attribute, &number)) return s;
  const size_t bytes = sizeof(Node) + op->spec->inputs.count * sizeof(Tensor);
  Node* made = static_cast<Node*>(malloc(bytes));
  if (!made) return out_of_memory(api, op->spec->name, bytes);
  *made = {op, kernels, attribute, number};
  find_constants(*op, api, info, made->constants());
  if (op->counters) add_to(&op->counters->nodes, 1);
  *node = made;
  return nullptr;
}

void ORT_API_CALL destroy(void* node) {
  Counters* counters = static_cast<Node*>(node)->op->counters;
  if (counters) counters->nodes.fetch_sub(1);
  free(node);
}

OrtStatus* compute_clocked(const Op& op, Call* call) {
  const uint64_t start = clock_nanoseconds();
  OrtStatus* status = op.spec->compute(call);
  add_to(&op.counters->nanoseconds[op.index], clock_nanoseconds() - start);
  return status;
}

OrtStatusPtr ORT_API_CALL compute(void* self, OrtKernelContext* context) {
  Node& node = *static_cast<Node*>(self);
  const Op& op = *node.op;
  Call call = {.api = op.api,
               .context = context,
               .kernels = node.kernels,
               .spec = op.spec,
               .constants = node.constants(),
               .counters = op.counters,
               .attribute = node.attribute,
               .number = node.number,
               .pool_status = nullptr};
  OrtStatus* status = op.counters ? compute_clocked(op, &call) : op.spec->compute(&call);
  if (!status) return call.pool_status;
  if (call.pool_status) call.api->ReleaseStatus(call.pool_status);
  return status;
}

OrtStatusPtr ORT_API_CALL infer_shape(const OrtCustomOp* op, OrtShapeInferContext* context) {
  return self(op)->spec->infer(self(op)->api, context);
}

}  // namespace

void init_op(Op* op, const OrtApi* api, Counters* counters, size_t index) {
  *op = {};
  op->api = api;
  op->spec = kOperators[index];
  op->counters = counters;
  op->index = index;
  OrtCustomOp& base = op->base;
  base.version = kApiVersion;
  base.GetName = name;
  base.GetExecutionProviderType = provider;
  base.GetInputTypeCount = inputs;
  base.GetInputType = input_type;
  base.GetInputCharacteristic = required;
  base.GetInputMemoryType = memory;
  base.GetOutputTypeCount = outputs;
  base.GetOutputType = output_type;
  base.GetOutputCharacteristic = output_kind;
  base.GetVariadicInputMinArity = base.GetVariadicInputHomogeneity = zero;
  base.GetVariadicOutputMinArity = base.GetVariadicOutputHomogeneity = zero;
  base.GetStartVersion = base.GetEndVersion = one;
  base.CreateKernelV2 = create;
  base.KernelComputeV2 = compute;
  base.KernelDestroy = destroy;
  if (op->spec->infer) base.InferOutputShapeFn = infer_shape;
}

}  // namespace bitnet
