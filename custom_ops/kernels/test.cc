// Which kernels a CPU gets, and what they share.
#include "kernels/apart.h"
#include "testing/check.h"

using namespace bitnet;

namespace {

// Those of a CPU of this name; null where this one cannot stand in for it.
const Kernels* of(const char* name) {
  CASE("%s", name);
  return find_kernels(name);
}

}  // namespace

TEST(kernels, names) {
  const Kernels** list;
  const size_t count = offered_kernels(&list);
  CHECK(count >= 1 && strcmp(list[count - 1]->name, "scalar") == 0);
  for (size_t i = 0; i < count; i++) CHECK(find_kernels(list[i]->name) == list[i]);
  CHECK(find_kernels(nullptr) == list[0]);
  CHECK(find_kernels("") == list[0]);
  CHECK(find_kernels("sca") == nullptr);
  CHECK(find_kernels("scalar,avx2") == nullptr);
  // What a test run demands of the CPU that it runs on.
  const char* expected = getenv("BITNET_ONNX_OFFERED");
  if (expected) CHECK(strcmp(offered_names(), expected) == 0);
}

TEST(kernels, forced) {
  const char* before = forced_name();
  host::set_variable("BITNET_ONNX_KERNEL", "scalar");
  CHECK(strcmp(find_kernels(forced_name())->name, "scalar") == 0);
  host::unset_variable("BITNET_ONNX_KERNEL");
  CHECK(forced_name() == nullptr);
  if (before) host::set_variable("BITNET_ONNX_KERNEL", before);
}

// A name stands for a CPU: where an operation's list has no row of it, the next row that such a CPU
// can run is taken.
TEST(kernels, choice) {
  CASE("every list");
  const Kernels** list;
  const size_t count = offered_kernels(&list);
  for (size_t i = 0; i < count; i++) {
    void* const* functions = reinterpret_cast<void* const*>(&list[i]->ternary_gemv);
    for (size_t f = 0; f < (sizeof(Kernels) - sizeof(char*)) / sizeof(void*); f++) {
      CHECK(functions[f] != nullptr);
    }
  }
  CHECK(of("scalar")->ternary_gemm == ternary_gemm_scalar);
  CHECK(of("scalar")->quantize_int8 == quantize_int8_scalar);
#if BITNET_X86
  if (const Kernels* k = of("zen4")) {
    CHECK(k->ternary_gemm == ternary_gemm_zen4 && k->gemm_rows == kRowsZen4);
    CHECK(k->ternary_columns_gemm == ternary_columns_gemm_zen4);
    CHECK(k->ternary_few == ternary_few_avx512vnni && k->rotate == rotate_avx512vnni);
    CHECK(k->few_rows == kFewLeast && k->open_rows == kFewActivations);
  }
  if (const Kernels* k = of("zen5")) {
    CHECK(k->ternary_gemm == ternary_gemm_zen4 && k->few_rows == kFewActivations);
  }
  if (const Kernels* k = of("avx512vnni")) {
    CHECK(k->ternary_gemm == ternary_gemm_avx512vnni && k->few_rows == kFewActivations);
    CHECK(k->attend_scores == attend_scores_avx512vnni && k->rotate == rotate_avx512vnni);
  }
  if (const Kernels* k = of("avxvnni")) {
    CHECK(k->ternary_gemm == ternary_gemm_avxvnni);
    CHECK(k->ternary_columns_gemm == ternary_columns_gemm_avxvnni);
    CHECK(k->bf16_gemv == bf16_gemv_avx2 && k->rms_norm == rms_norm_avx2);
  }
  if (const Kernels* k = of("avx2")) {
    CHECK(k->ternary_gemm == ternary_gemm_avx2 && k->attend_values_f16 == attend_values_f16_avx2);
    CHECK(k->ternary_open == ternary_open_scalar && k->open_rows == 1);
  }
#endif
#if BITNET_ARM
  if (const Kernels* k = of("neon_i8mm")) {
    CHECK(k->ternary_gemm == ternary_gemm_neon_i8mm);
    CHECK(k->ternary_gemv == ternary_gemv_neon_dotprod && k->bf16_gemv == bf16_gemv_neon);
    CHECK(k->attend_scores_int8 == attend_scores_int8_neon_dotprod);
  }
  if (const Kernels* k = of("neon_dotprod")) {
    CHECK(k->ternary_gemm == ternary_gemm_neon_dotprod);
    CHECK(k->attend_weights_int8 == attend_weights_int8_neon && k->rotate == rotate_neon);
  }
  if (const Kernels* k = of("neon")) {
    CHECK(k->ternary_group == ternary_group_neon && k->quantize_int8 == quantize_int8_neon);
  }
#endif
}

// Each line once.
TEST(kernels, apart) {
  for (size_t count = 0; count < 100; count++) {
    CASE("%zu lines", count);
    bool seen[100] = {false};
    for (size_t i = 0; i < count; i++) {
      const size_t at = apart(i, count);
      CHECK(at < count && !seen[at]);
      seen[at] = true;
    }
  }
}
