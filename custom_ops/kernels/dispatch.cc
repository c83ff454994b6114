#include "kernels/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "platform/cpu.h"

namespace bitnet {
namespace {

#define KERNEL(isa, features, gemm, ints, floats, loops) \
  {#isa,                                                 \
   features,                                             \
   ternary_gemv_##ints,                                  \
   ternary_gemm_##gemm,                                  \
   ternary_select_##ints,                                \
   ternary_columns_##ints,                               \
   ternary_columns_gemm_##gemm,                          \
   ternary_group_##ints,                                 \
   bf16_gemv_##floats,                                   \
   int8_gemv_##ints,                                     \
   attend_scores_##floats,                               \
   attend_scores_f16_##floats,                           \
   attend_softmax_##floats,                              \
   attend_values_##floats,                               \
   attend_values_f16_##floats,                           \
   attend_scores_int8_##ints,                            \
   attend_weights_int8_##floats,                         \
   attend_values_int8_##ints,                            \
   quantize_int8_##loops,                                \
   quantize_int16_##loops,                               \
   quantize_digits_##loops,                              \
   widen_bf16_##loops,                                   \
   rms_norm_##loops,                                     \
   rotate_##loops,                                       \
   read_##floats},
const Kernel kKernels[] = {
#include "kernels/kernels.inc"
};
#undef KERNEL
constexpr size_t kCount = sizeof kKernels / sizeof kKernels[0];

struct Offer {
  const Kernel* list[kCount];
  size_t count = 0;
  char names[32 * kCount];

  Offer() {
    const uint32_t cpu = detect_cpu();
    names[0] = 0;
    for (const Kernel& kernel : kKernels) {
      if ((kernel.features & cpu) != kernel.features) continue;
      if (count) strcat(names, ",");
      strcat(names, kernel.name);
      list[count++] = &kernel;
    }
  }
};

// Filled while the library loads, so there is no first call to guard.
Offer offer;

}  // namespace

size_t offered_kernels(const Kernel*** list) {
  *list = offer.list;
  return offer.count;
}

const char* offered_names() { return offer.names; }

const Kernel* find_kernel(const char* name) {
  if (!name || !name[0]) return offer.list[0];
  for (size_t i = 0; i < offer.count; i++) {
    if (strcmp(offer.list[i]->name, name) == 0) return offer.list[i];
  }
  return nullptr;
}

const char* forced_name() { return getenv("BITNET_ONNX_KERNEL"); }

}  // namespace bitnet
