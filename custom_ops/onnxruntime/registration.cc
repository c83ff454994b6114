#include "onnxruntime/registration.h"

#include <stdlib.h>
#include <string.h>

#include "include/bitnet_onnx_ops.h"

namespace bitnet {

const OpSpec* const kOperators[] = {&kTernaryMatMul,
                                    &kTernaryNormMatMul,
                                    &kTernaryFeedForward,
                                    &kTernaryGroupMatMul,
                                    &kTernaryFloatMatMul,
                                    &kBf16MatMul,
                                    &kInt8MatMul,
                                    &kInt6MatMul,
                                    &kInt4MatMul,
                                    &kTwoStepMatMul,
                                    &kTwoStepInt6MatMul,
                                    &kTwoStepInt4MatMul,
                                    &kGroupQueryAttention,
                                    &kGroupQueryAttentionF16,
                                    &kGroupQueryAttentionInt8,
                                    &kGroupQueryAttentionInt4,
                                    &kGroupQueryAttentionQKV,
                                    &kGroupQueryAttentionF16QKV,
                                    &kGroupQueryAttentionInt8QKV,
                                    &kGroupQueryAttentionInt4QKV,
                                    &kRmsNorm,
                                    &kAddRmsNorm,
                                    &kGatedSilu,
                                    &kGatedGelu,
                                    &kTernaryExperts,
                                    &kBf16Experts,
                                    &kInt8Experts};
constexpr size_t kCount = sizeof kOperators / sizeof kOperators[0];
static_assert(kCount <= kMaxOperators, "counters for all");
const size_t kOperatorCount = kCount;

namespace {

struct Registration {
  const OrtApi* api;
  Counters* counters;
  OrtCustomOpDomain* domain;
  Op ops[kCount];
  Registration* next;
};

std::atomic_flag lock = ATOMIC_FLAG_INIT;
Registration* all;  // all that were made
size_t count;

OrtStatus* make(const OrtApi* api, Counters* counters, Registration* made) {
  made->api = api;
  made->counters = counters;
  if (OrtStatus* s = api->CreateCustomOpDomain("bitnet", &made->domain)) return s;
  for (size_t i = 0; i < kCount; i++) {
    init_op(&made->ops[i], api, counters, i);
    if (OrtStatus* s = api->CustomOpDomain_Add(made->domain, &made->ops[i].base)) return s;
  }
  return nullptr;
}

// The operators for an API and counters, which may be null. They are made once and live as long as
// the process, as sessions point into them and nothing says when the last one ends.
OrtStatus* registration_of(const OrtApi* api, Counters* counters, const Registration** found) {
  const SpinLock locked(&lock);
  for (const Registration* r = all; r; r = r->next) {
    *found = r;
    if (r->api == api && r->counters == counters) return nullptr;
  }
  Registration* made = static_cast<Registration*>(calloc(1, sizeof(Registration)));
  if (!made) return out_of_memory(api, "bitnet_onnx", sizeof(Registration));
  if (OrtStatus* s = make(api, counters, made)) {
    if (made->domain) api->ReleaseCustomOpDomain(made->domain);
    free(made);
    return s;
  }
  made->next = all;
  *found = all = made;
  count++;
  return nullptr;
}

// A decimal id; 0 for any other text.
uint64_t id_of(const char* text) {
  uint64_t id = 0;
  for (const char* c = text; *c; c++) {
    if (*c < '0' || *c > '9' || c - text >= 19) return 0;  // 20 digits might be more than 2^64
    id = 10 * id + static_cast<uint64_t>(*c - '0');
  }
  return id;
}

// The counters that the options name, or null.
OrtStatus* counters_of(const OrtApi* api, const OrtSessionOptions* options, Counters** counters) {
  const char* const key = BITNET_ONNX_COUNTERS_KEY;
  char text[64] = "";
  size_t size = sizeof text;
  int given = 0;
  *counters = nullptr;
  if (OrtStatus* s = api->HasSessionConfigEntry(options, key, &given)) return s;
  if (!given) return nullptr;
  if (OrtStatus* s = api->GetSessionConfigEntry(options, key, text, &size)) return s;
  *counters = find_counters(id_of(text));
  if (*counters) return nullptr;
  return fail(api, "the session's entry %s is \"%s\", expected the id of counters", key, text);
}

}  // namespace

size_t operator_index(const char* name) {
  size_t index = 0;
  while (index < kCount && strcmp(kOperators[index]->name, name) != 0) index++;
  return index;
}

OrtStatus* add_operators(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(kApiVersion);
  if (!api) {
    return fail(base->GetApi(1), "bitnet_onnx needs ONNX Runtime 1.%u or later, this is %s",
                kApiVersion, base->GetVersionString());
  }
  if (!find_kernels(forced_name())) return no_such_kernel(api);
  Counters* counters = nullptr;
  const Registration* registration = nullptr;
  if (OrtStatus* s = counters_of(api, options, &counters)) return s;
  if (OrtStatus* s = registration_of(api, counters, &registration)) return s;
  return api->AddCustomOpDomain(options, registration->domain);
}

size_t registration_count() {
  const SpinLock locked(&lock);
  return count;
}

}  // namespace bitnet
