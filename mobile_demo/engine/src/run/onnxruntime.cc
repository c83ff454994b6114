#include "run/onnxruntime.h"

#include <bitnet_onnx_ops.h>
#include <onnxruntime_c_api.h>
#include <stdlib.h>
#include <string.h>

#include "run/libraries.h"

namespace edge {
namespace {

constexpr uint32_t kApiVersion = 21;
static_assert(kApiVersion <= ORT_API_VERSION, "the header is older than what is asked of it");

using GetApiBase = const OrtApiBase* (*)();
using RegisterOperators = OrtStatus* (*)(OrtSessionOptions*, const OrtApiBase*);
using Name = const char* (*)();

template <typename Function>
Function as(void* symbol) {
  return reinterpret_cast<Function>(symbol);
}

Status find_api_base(const std::string& given, const OrtApiBase** base) {
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // the library reads it once
#ifdef BITNET_EDGE_ONNXRUNTIME_LINKED
  if (!given.empty()) {
    return fail(BITNET_EDGE_ARGUMENT,
                "onnxruntime is %s, expected none: this program has ONNX Runtime linked in",
                quoted(given).c_str());
  }
  *base = OrtGetApiBase();
#else
  void* found = nullptr;
  if (Status status = find_onnxruntime(given, &found); !status.ok()) return status;
  *base = as<GetApiBase>(found)();
#endif
  return {};
}

Type type_of(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return Type::kFloat32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return Type::kFloat16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return Type::kInt8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return Type::kUint8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return Type::kInt64;
    default:
      return Type::kOther;
  }
}

ONNXTensorElementDataType type_for(Type type) {
  switch (type) {
    case Type::kFloat32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case Type::kFloat16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case Type::kInt8:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    case Type::kUint8:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    case Type::kInt64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case Type::kOther:
      break;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

}  // namespace

struct Runtime::Handles {
  const OrtApiBase* base = nullptr;
  const OrtApi* api = nullptr;
  OrtEnv* env = nullptr;
  OrtSessionOptions* options = nullptr;
  OrtSession* session = nullptr;
  OrtMemoryInfo* memory = nullptr;
  OrtAllocator* allocator = nullptr;

  ~Handles() {
    if (!api) return;
    if (memory) api->ReleaseMemoryInfo(memory);
    if (session) api->ReleaseSession(session);
    if (options) api->ReleaseSessionOptions(options);
    if (env) api->ReleaseEnv(env);
  }

  // `what` and the first line of what ONNX Runtime says; releases the status.
  Status checked(OrtStatus* status, bitnet_edge_code code, const std::string& what) const {
    if (!status) return {};
    const char* message = api->GetErrorMessage(status);
    const std::string line(message, strcspn(message, "\r\n"));
    api->ReleaseStatus(status);
    return fail(code, "ONNX Runtime %s %s: %s", base->GetVersionString(), what.c_str(),
                line.c_str());
  }

  Status read_port(const char* name, OrtTypeInfo* info, Port* port) const;
};

Runtime::Runtime() : handles_(new Handles) {}
Runtime::~Runtime() = default;

Status Runtime::open(const std::string& graph, const RuntimeOptions& options,
                     std::unique_ptr<Runtime>* runtime) {
  std::unique_ptr<Runtime> opened(new Runtime);
  if (Status status = opened->load(graph, options); !status.ok()) return status;
  if (Status status = opened->read_ports(); !status.ok()) return status;
  *runtime = std::move(opened);
  return {};
}

Status Runtime::load(const std::string& graph, const RuntimeOptions& options) {
  Handles& h = *handles_;
  if (Status status = find_api_base(options.library, &h.base); !status.ok()) return status;
  h.api = h.base->GetApi(kApiVersion);
  if (!h.api) {
    return fail(BITNET_EDGE_RUNTIME, "ONNX Runtime is version %s, expected 1.%u or later",
                h.base->GetVersionString(), kApiVersion);
  }
  const OrtApi& api = *h.api;
  OrtStatus* failed = api.CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bitnet_edge", &h.env);
  if (!failed) failed = api.DisableTelemetryEvents(h.env);
  if (!failed) failed = api.CreateSessionOptions(&h.options);
  if (!failed) failed = api.SetIntraOpNumThreads(h.options, options.threads);
  if (!failed) failed = api.SetSessionLogSeverityLevel(h.options, ORT_LOGGING_LEVEL_ERROR);
  if (!failed) failed = api.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &h.memory);
  if (!failed) failed = api.GetAllocatorWithDefaultOptions(&h.allocator);
  Status status = h.checked(failed, BITNET_EDGE_RUNTIME, "cannot make a session");
  if (!status.ok()) return status;
  if (options.custom_operators) {
    status = register_operators(options);
    if (!status.ok()) return status;
  }
  return h.checked(api.CreateSession(h.env, graph.c_str(), h.options, &h.session),
                   BITNET_EDGE_ARTIFACT, "cannot load " + graph);
}

Status Runtime::register_operators(const RuntimeOptions& options) {
  RegisterOperators add = nullptr;
  Name active_kernel = nullptr, kernels = nullptr;
  std::string why, path = options.operators;
  if (path.empty()) {
#ifdef BITNET_EDGE_OPERATORS_LINKED
    add = RegisterCustomOps;
    active_kernel = bitnet_onnx_active_kernel;
    kernels = bitnet_onnx_kernels;
#else
    path = operators_beside();
#endif
  }
  if (!add) {
    add = as<RegisterOperators>(load_symbol(path.c_str(), "RegisterCustomOps", &why));
    active_kernel = as<Name>(load_symbol(path.c_str(), "bitnet_onnx_active_kernel", &why));
    kernels = as<Name>(load_symbol(path.c_str(), "bitnet_onnx_kernels", &why));
  }
  if (!add || !active_kernel || !kernels) {
    return fail(BITNET_EDGE_RUNTIME,
                "%s is not a library of the custom operators for this machine: %s", path.c_str(),
                why.c_str());
  }
  const char* kernel = active_kernel();
  if (!kernel) {
    const char* forced = getenv("BITNET_ONNX_KERNEL");
    return fail(BITNET_EDGE_RUNTIME,
                "BITNET_ONNX_KERNEL is %s, expected one that this CPU can run: %s",
                forced ? forced : "", kernels());
  }
  kernel_ = kernel;
  return handles_->checked(add(handles_->options, handles_->base), BITNET_EDGE_RUNTIME,
                           "refused the custom operators");
}

Status Runtime::Handles::read_port(const char* name, OrtTypeInfo* info, Port* port) const {
  port->name = name;
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  OrtStatus* status = api->CastTypeInfoToTensorInfo(info, &tensor);
  if (!status && tensor) {
    ONNXTensorElementDataType type;
    size_t rank = 0;
    status = api->GetTensorElementType(tensor, &type);
    if (!status) {
      port->type = type_of(type);
      status = api->GetDimensionsCount(tensor, &rank);
    }
    if (!status && rank) {
      port->dims.resize(rank);
      status = api->GetDimensions(tensor, port->dims.data(), rank);
    }
  }
  api->ReleaseTypeInfo(info);
  return checked(status, BITNET_EDGE_RUNTIME, "cannot describe the graph");
}

Status Runtime::read_ports() {
  const Handles& h = *handles_;
  const OrtApi& api = *h.api;
  struct Kind {
    OrtStatus*(ORT_API_CALL* count)(const OrtSession*, size_t*);
    OrtStatus*(ORT_API_CALL* name)(const OrtSession*, size_t, OrtAllocator*, char**);
    OrtStatus*(ORT_API_CALL* info)(const OrtSession*, size_t, OrtTypeInfo**);
    std::vector<Port>* ports;
  };
  const Kind kinds[] = {
      {api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo, &inputs_},
      {api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo,
       &outputs_},
      {api.SessionGetOverridableInitializerCount, api.SessionGetOverridableInitializerName,
       api.SessionGetOverridableInitializerTypeInfo, &optional_inputs_},
  };
  constexpr char cannot[] = "cannot describe the graph";
  for (const Kind& kind : kinds) {
    size_t count = 0;
    Status status = h.checked(kind.count(h.session, &count), BITNET_EDGE_RUNTIME, cannot);
    for (size_t i = 0; status.ok() && i < count; i++) {
      char* name = nullptr;
      OrtTypeInfo* info = nullptr;
      status = h.checked(kind.name(h.session, i, h.allocator, &name), BITNET_EDGE_RUNTIME, cannot);
      if (!status.ok()) break;
      status = h.checked(kind.info(h.session, i, &info), BITNET_EDGE_RUNTIME, cannot);
      kind.ports->emplace_back();
      if (status.ok()) status = h.read_port(name, info, &kind.ports->back());
      status = status.ok()
                   ? h.checked(api.AllocatorFree(h.allocator, name), BITNET_EDGE_RUNTIME, cannot)
                   : status;
    }
    if (!status.ok()) return status;
  }
  return {};
}

Status Binding::make(Runtime* runtime, std::unique_ptr<Binding>* binding) {
  std::unique_ptr<Binding> made(new Binding(runtime));
  const Runtime::Handles& h = *runtime->handles_;
  OrtIoBinding* handle = nullptr;
  OrtStatus* failed = h.api->CreateIoBinding(h.session, &handle);
  made->binding_ = handle;
  *binding = std::move(made);
  return h.checked(failed, BITNET_EDGE_RUNTIME, "cannot bind buffers");
}

Binding::~Binding() {
  if (binding_) runtime_->handles_->api->ReleaseIoBinding(static_cast<OrtIoBinding*>(binding_));
}

Status Binding::input(const char* name, Type type, const std::vector<int64_t>& dims, void* data) {
  return bind(true, name, type, dims, data);
}

Status Binding::output(const char* name, Type type, const std::vector<int64_t>& dims, void* data) {
  return bind(false, name, type, dims, data);
}

Status Binding::bind(bool input, const char* name, Type type, const std::vector<int64_t>& dims,
                     void* data) {
  const Runtime::Handles& h = *runtime_->handles_;
  size_t bytes = size_of(type);
  for (const int64_t dim : dims) bytes *= static_cast<size_t>(dim);
  OrtValue* value = nullptr;
  OrtStatus* failed = h.api->CreateTensorWithDataAsOrtValue(h.memory, data, bytes, dims.data(),
                                                            dims.size(), type_for(type), &value);
  if (!failed) {
    OrtIoBinding* binding = static_cast<OrtIoBinding*>(binding_);
    failed =
        input ? h.api->BindInput(binding, name, value) : h.api->BindOutput(binding, name, value);
    h.api->ReleaseValue(value);  // the binding holds it
  }
  return h.checked(failed, BITNET_EDGE_RUNTIME, std::string("refused to bind ") + name);
}

Status Binding::run() {
  const Runtime::Handles& h = *runtime_->handles_;
  return h.checked(
      h.api->RunWithBinding(h.session, nullptr, static_cast<const OrtIoBinding*>(binding_)),
      BITNET_EDGE_RUNTIME, "failed in a step");
}

}  // namespace edge
