// Everything that the library exports.
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "onnxruntime/ort.h"
#include "operators/skipped.h"

#ifdef _WIN32
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

using namespace bitnet;

static const OpSpec* const kOps[] = {&kTernaryMatMul,
                                     &kBf16MatMul,
                                     &kInt8MatMul,
                                     &kTwoStepMatMul,
                                     &kTernaryGroupMatMul,
                                     &kTernaryFloatMatMul,
                                     &kTernaryFeedForward,
                                     &kTernaryNormMatMul,
                                     &kGroupQueryAttention,
                                     &kGroupQueryAttentionF16,
                                     &kGroupQueryAttentionInt8,
                                     &kGroupQueryAttentionQKV,
                                     &kGroupQueryAttentionF16QKV,
                                     &kGroupQueryAttentionInt8QKV,
                                     &kRmsNorm,
                                     &kAddRmsNorm};
constexpr size_t kOpCount = sizeof kOps / sizeof kOps[0];
static std::atomic<uint64_t> nanoseconds[kOpCount];

// Lives as long as the process: sessions point into it, and nobody says when the last one ends.
struct Registration {
  OrtCustomOpDomain* domain;
  Op ops[kOpCount];
};

static OrtStatus* make(const OrtApi* api, Registration* made) {
  if (OrtStatus* s = api->CreateCustomOpDomain("bitnet", &made->domain)) return s;
  for (size_t i = 0; i < kOpCount; i++) {
    init_op(&made->ops[i], api, kOps[i], &nanoseconds[i]);
    if (OrtStatus* s = api->CustomOpDomain_Add(made->domain, &made->ops[i].base)) return s;
  }
  return nullptr;
}

EXPORT OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options,
                                                 const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(kApiVersion);
  if (!api) {
    return fail(base->GetApi(1), "bitnet_onnx needs ONNX Runtime 1.%u or newer, this is %s",
                kApiVersion, base->GetVersionString());
  }
  if (!find_kernels(forced_name())) return no_such_kernel(api);
  Registration* made = static_cast<Registration*>(calloc(1, sizeof(Registration)));
  if (!made) return fail(api, "bitnet_onnx: out of memory");
  OrtStatus* status = make(api, made);
  if (!status) status = api->AddCustomOpDomain(options, made->domain);
  if (!status) return nullptr;
  if (made->domain) api->ReleaseCustomOpDomain(made->domain);
  free(made);
  return status;
}

EXPORT const char* bitnet_onnx_kernels() { return offered_names(); }

EXPORT const char* bitnet_onnx_active_kernel() {
  const Kernels* kernels = find_kernels(forced_name());
  return kernels ? kernels->name : nullptr;
}

EXPORT const char* bitnet_onnx_version() { return BITNET_ONNX_VERSION; }

EXPORT uint64_t bitnet_onnx_read(const void* data, size_t bytes) {
  const Kernels* kernels = find_kernels(forced_name());
  return kernels ? kernels->read(static_cast<const uint8_t*>(data), bytes) : 0;
}

// Spent in an operator since the library was loaded; 0 for one that it does not have.
EXPORT uint64_t bitnet_onnx_nanoseconds(const char* name) {
  for (size_t i = 0; i < kOpCount; i++) {
    if (strcmp(kOps[i]->name, name) == 0) return nanoseconds[i].load(std::memory_order_relaxed);
  }
  return 0;
}

EXPORT uint64_t bitnet_onnx_skipped_rows() { return skipped_rows(); }

EXPORT uint64_t bitnet_onnx_skipped_columns() { return skipped_columns(); }

EXPORT uint64_t bitnet_onnx_skipped_head() { return skipped_head(); }
