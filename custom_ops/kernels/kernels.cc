#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

namespace bitnet {
namespace {

template <typename Function>
void take(bool runs, Function* function, Function** place) {
  if (runs && !*place) *place = function;
}

Kernels kernels_of(const Cpu& cpu) {
  Kernels k = {};
  k.name = cpu.name;
  const bool looks_up = has_all(cpu.features, kCpuZen4) && !has_all(cpu.features, kCpuZen5);
  k.few_rows = looks_up ? kFewLeast : kFewActivations;
  k.open_rows = has_all(cpu.features, kCpuAvx512Vnni) ? kFewActivations : 1;
#define KERNEL(isa, needs)                                                 \
  take(has_all(cpu.features, needs), ternary_gemv_##isa, &k.ternary_gemv); \
  take(has_all(cpu.features, needs), ternary_select_##isa, &k.ternary_select);
#include "kernels/ternary_gemv/kernels.inc"
#define KERNEL(isa, needs)                                               \
  take(has_all(cpu.features, needs), ternary_few_##isa, &k.ternary_few); \
  take(has_all(cpu.features, needs), ternary_columns_few_##isa, &k.ternary_columns_few);
#include "kernels/ternary_few/kernels.inc"
#define KERNEL(isa, needs) take(has_all(cpu.features, needs), ternary_open_##isa, &k.ternary_open);
#include "kernels/ternary_open/kernels.inc"
#define KERNEL(isa, needs, rows)                                           \
  if (!k.ternary_gemm && has_all(cpu.features, needs)) k.gemm_rows = rows; \
  take(has_all(cpu.features, needs), ternary_gemm_##isa, &k.ternary_gemm); \
  take(has_all(cpu.features, needs), ternary_columns_gemm_##isa, &k.ternary_columns_gemm);
#include "kernels/ternary_gemm/kernels.inc"
#define KERNEL(isa, needs) \
  take(has_all(cpu.features, needs), ternary_columns_##isa, &k.ternary_columns);
#include "kernels/ternary_columns/kernels.inc"
#define KERNEL(isa, needs) \
  take(has_all(cpu.features, needs), ternary_group_##isa, &k.ternary_group);
#include "kernels/ternary_group/kernels.inc"
#define KERNEL(isa, needs) take(has_all(cpu.features, needs), bf16_gemv_##isa, &k.bf16_gemv);
#include "kernels/bf16_gemv/kernels.inc"
#define KERNEL(isa, needs) take(has_all(cpu.features, needs), int8_gemv_##isa, &k.int8_gemv);
#include "kernels/int8_gemv/kernels.inc"
#define KERNEL(isa, needs)                                                       \
  take(has_all(cpu.features, needs), level_gemv_int4_##isa, &k.level_gemv_int4); \
  take(has_all(cpu.features, needs), level_gemv_int6_##isa, &k.level_gemv_int6);
#include "kernels/level_gemv/kernels.inc"
#define KERNEL(isa, needs)                                                   \
  take(has_all(cpu.features, needs), attend_scores_##isa, &k.attend_scores); \
  take(has_all(cpu.features, needs), attend_scores_f16_##isa, &k.attend_scores_f16);
#include "kernels/attend_scores/kernels.inc"
#define KERNEL(isa, needs) \
  take(has_all(cpu.features, needs), attend_softmax_##isa, &k.attend_softmax);
#include "kernels/attend_softmax/kernels.inc"
#define KERNEL(isa, needs)                                                   \
  take(has_all(cpu.features, needs), attend_values_##isa, &k.attend_values); \
  take(has_all(cpu.features, needs), attend_values_f16_##isa, &k.attend_values_f16);
#include "kernels/attend_values/kernels.inc"
#define KERNEL(isa, needs) \
  take(has_all(cpu.features, needs), attend_scores_int8_##isa, &k.attend_scores_int8);
#include "kernels/attend_scores_int8/kernels.inc"
#define KERNEL(isa, needs) \
  take(has_all(cpu.features, needs), attend_weights_int8_##isa, &k.attend_weights_int8);
#include "kernels/attend_weights_int8/kernels.inc"
#define KERNEL(isa, needs) \
  take(has_all(cpu.features, needs), attend_values_int8_##isa, &k.attend_values_int8);
#include "kernels/attend_values_int8/kernels.inc"
#define KERNEL(isa, needs) \
  take(has_all(cpu.features, needs), attend_unpack_int4_##isa, &k.attend_unpack_int4);
#include "kernels/attend_unpack_int4/kernels.inc"
#define KERNEL(isa, needs)                                                       \
  take(has_all(cpu.features, needs), quantize_int8_##isa, &k.quantize_int8);     \
  take(has_all(cpu.features, needs), quantize_int16_##isa, &k.quantize_int16);   \
  take(has_all(cpu.features, needs), quantize_digits_##isa, &k.quantize_digits); \
  take(has_all(cpu.features, needs), widen_bf16_##isa, &k.widen_bf16);           \
  take(has_all(cpu.features, needs), rms_norm_##isa, &k.rms_norm);               \
  take(has_all(cpu.features, needs), rotate_##isa, &k.rotate);                   \
  take(has_all(cpu.features, needs), scale_sums_##isa, &k.scale_sums);           \
  take(has_all(cpu.features, needs), scale_sums_each_##isa, &k.scale_sums_each); \
  take(has_all(cpu.features, needs), gate_##isa, &k.gate);                       \
  take(has_all(cpu.features, needs), silu_##isa, &k.silu);                       \
  take(has_all(cpu.features, needs), gelu_##isa, &k.gelu);                       \
  take(has_all(cpu.features, needs), add_scaled_##isa, &k.add_scaled);           \
  take(has_all(cpu.features, needs), dot_##isa, &k.dot);                         \
  take(has_all(cpu.features, needs), add_sums_##isa, &k.add_sums);               \
  take(has_all(cpu.features, needs), add_reals_##isa, &k.add_reals);             \
  take(has_all(cpu.features, needs), divide_reals_##isa, &k.divide_reals);
#include "kernels/rows/kernels.inc"
#define KERNEL(isa, needs)                                                   \
  take(has_all(cpu.features, needs), select_values_##isa, &k.select_values); \
  take(has_all(cpu.features, needs), select_open_##isa, &k.select_open);
#include "kernels/select/kernels.inc"
#define KERNEL(isa, needs) take(has_all(cpu.features, needs), read_##isa, &k.read);
#include "kernels/read/kernels.inc"
  return k;
}

struct Offer {
  Kernels kernels[kCpuCount];
  const Kernels* list[kCpuCount];
  size_t count = 0;
  char names[32 * kCpuCount];

  Offer() {
    const uint32_t here = detect_cpu();
    names[0] = 0;
    for (const Cpu& cpu : kCpus) {
      if (!has_all(here, cpu.features)) continue;
      if (count) strcat(names, ",");
      strcat(names, cpu.name);
      kernels[count] = kernels_of(cpu);
      list[count] = &kernels[count];
      count++;
    }
  }
};

// Filled while the library loads, so that no first call needs a guard.
Offer offer;

}  // namespace

size_t offered_kernels(const Kernels*** list) {
  *list = offer.list;
  return offer.count;
}

const char* offered_names() { return offer.names; }

const Kernels* find_kernels(const char* name) {
  if (!name || !name[0]) return offer.list[0];
  for (size_t i = 0; i < offer.count; i++) {
    if (strcmp(offer.list[i]->name, name) == 0) return offer.list[i];
  }
  return nullptr;
}

const char* forced_name() { return getenv("BITNET_ONNX_KERNEL"); }

}  // namespace bitnet
