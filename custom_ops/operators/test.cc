// The quantizers and the operators without ONNX Runtime, with every kernel that this CPU offers.
#include <float.h>
#include <math.h>

#include "kernels/dispatch.h"
#include "operators/bf16_matmul/bf16_matmul.h"
#include "operators/int8_matmul/int8_matmul.h"
#include "operators/rms_norm/rms_norm.h"
#include "operators/ternary_group_matmul/ternary_group_matmul.h"
#include "operators/ternary_matmul/ternary_matmul.h"
#include "testing/check.h"
#include "testing/pools.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static bool same_bits(float a, float b) { return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b)); }

// The specification in libm's words: round to even, then clamp.
static int quantized(float x, float scale, float low, float high) {
  return static_cast<int>(fminf(fmaxf(nearbyintf(x * scale), low), high));
}

static float absmax(const float* x, size_t k) {
  float most = 0;
  for (size_t i = 0; i < k; i++) most = fmaxf(most, fabsf(x[i]));
  return fmaxf(most, 1e-5f);
}

static void check_row(const Kernel& kernel, const char* what, const float* x, size_t k) {
  CASE("quantize %s, %s, k %zu", kernel.name, what, k);
  const size_t padded = (k + 255) / 256 * 256;
  Guarded<int8_t> q8(padded);
  Guarded<int16_t> q16(padded);
  memset(q8.data, 99, padded);
  memset(q16.data, 99, 2 * padded);
  int32_t sum = 0, expected_sum = 0;
  const float s8 = kernel.quantize_int8(x, k, padded, q8.data, &sum);
  const float s16 = kernel.quantize_int16(x, k, padded, q16.data);
  CHECK(s8 == 127.0f / absmax(x, k));
  CHECK(s16 == 32512.0f / absmax(x, k));
  for (size_t i = 0; i < k; i++) {
    CHECK(q8[i] == quantized(x[i], s8, -128, 127));
    CHECK(q16[i] == quantized(x[i], s16, -32512, 32512));
    expected_sum += q8[i];
  }
  CHECK(sum == expected_sum);
  for (size_t i = k; i < padded; i++) CHECK(q8[i] == 0 && q16[i] == 0);
}

static void test_quantize(const Kernel& kernel) {
  // absmax 127 makes the scale 1, so that the ties are exact.
  const float ties[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -126.5f, 0.49999997f};
  check_row(kernel, "ties", ties, 10);
  const float ties16[] = {32512, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 32511.5f, -32511.5f};
  check_row(kernel, "ties of int16", ties16, 9);
  const float zeros[300] = {0};
  check_row(kernel, "zeros", zeros, 300);
  const float tiny[] = {FLT_MIN / 8, -FLT_MIN / 2, FLT_MIN, -FLT_TRUE_MIN, -0.0f};
  check_row(kernel, "denormals", tiny, 5);
  const float huge[] = {FLT_MAX, -FLT_MAX, FLT_MAX / 2, 1, -FLT_MAX / 3, FLT_MIN};
  check_row(kernel, "largest", huge, 6);
  const float small[] = {9e-6f, -1e-5f, 5e-6f, 3.937e-8f};  // below the clamp of absmax
  check_row(kernel, "below 1e-5", small, 4);
  for (size_t k = 1; k < 300; k += k < 70 ? 1 : 37) {
    Random random = {k};
    Guarded<float> x(k);
    for (size_t i = 0; i < k; i++) x[i] = random.real() * 10;
    check_row(kernel, "random, seed k", x.data, k);
  }
}

static void test_quantize_not_finite(const Kernel& kernel) {
  const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
  for (float value : bad) {
    for (size_t at : {0, 5, 38}) {
      CASE("quantize %s, %f at %zu", kernel.name, static_cast<double>(value), at);
      float x[39];
      for (int i = 0; i < 39; i++) x[i] = static_cast<float>(i) - 20;
      x[at] = value;
      int8_t q8[256];
      int16_t q16[64];
      int32_t sum = 0;
      CHECK(isnan(kernel.quantize_int8(x, 39, 256, q8, &sum)));
      CHECK(isnan(kernel.quantize_int16(x, 39, 64, q16)));
      for (int i = 0; i < 39; i++) CHECK(q8[i] == 0 && q16[i] == 0);
      CHECK(sum == 0);
    }
  }
}

// x [m, k]; from the second row on, some rows hold a NaN or an infinity.
static void fill(Guarded<float>* x, size_t m, size_t k, Random* random) {
  for (size_t i = 0; i < m * k; i++) (*x)[i] = random->real() * 3;
  for (size_t i = 1; i < m; i += 3) (*x)[i * k + random->below(k)] = i % 2 ? NAN : -INFINITY;
}

static bool finite(const float* x, size_t k) {
  for (size_t i = 0; i < k; i++) {
    if (!isfinite(x[i])) return false;
  }
  return true;
}

static void check_ternary(const Kernel& kernel, size_t m, size_t k, size_t n, bool row_scales,
                          const Pool& pool) {
  CASE("ternary_matmul %s m %zu k %zu n %zu row scales %d seed %zu", kernel.name, m, k, n,
       row_scales, m + k + n);
  Random random = {m + k + n};
  const size_t row = (k + 255) / 256 * 64;
  Guarded<float> x(m * k), y(m * n);
  Guarded<uint8_t> w(n * row), scratch(ternary_matmul_scratch(m, k) / 64 * 64 + 64);
  fill(&x, m, k, &random);
  for (size_t i = 0; i < w.size(); i++) w[i] = static_cast<uint8_t>(random.next());
  Guarded<float> scales(row_scales ? n : 1);
  for (size_t i = 0; i < scales.size(); i++) scales[i] = 0.7f + random.real();
  ternary_matmul(
      kernel,
      {m, k, n, x.data, w.data, reinterpret_cast<const uint8_t*>(scales.data), row_scales, y.data},
      scratch.data, pool);
  for (size_t i = 0; i < m; i++) {
    const float* row_x = x.data + i * k;
    const float act_scale = 127.0f / absmax(row_x, k);
    const bool good = finite(row_x, k);
    Guarded<int> q(k);
    for (size_t c = 0; good && c < k; c++) q[c] = quantized(row_x[c], act_scale, -128, 127);
    for (size_t j = 0; j < n; j++) {
      int32_t sum = 0;
      for (size_t c = 0; good && c < k; c++) {
        const int code = w[j * row + c / 256 * 64 + c % 64] >> (2 * (c / 64 % 4)) & 3;
        sum += q[c] * (code - 1);
      }
      const float rescale = scales[row_scales ? j : 0] / act_scale;
      CHECK(same_bits(y[i * n + j], good ? static_cast<float>(sum) * rescale : NAN));
    }
  }
}

// Digits of x as kernel.h states them, in libm's words.
static void check_digits(const Kernel& kernel, const char* what, const float* x, size_t k) {
  CASE("digits, %s, of %s, k %zu", kernel.name, what, k);
  const size_t padded = (k + 255) / 256 * 256;
  Guarded<int8_t> q(4 * padded);
  memset(q.data, 99, 4 * padded);
  float most = FLT_MIN;
  for (size_t i = 0; i < k; i++) most = fmaxf(most, fabsf(x[i]));
  const double s = kernel.quantize_digits(x, k, padded, q.data);
  CHECK(s == 0x1p30 / most);
  for (size_t i = 0; i < padded; i++) {
    const int64_t value =
        q[i] + 256ll * q[padded + i] + 65536ll * q[2 * padded + i] + 16777216ll * q[3 * padded + i];
    CHECK(value == (i < k ? static_cast<int64_t>(nearbyint(x[i] * s)) : 0));
    if (i < k) CHECK(fabs(x[i] - static_cast<double>(value) / s) <= 0x1p-31 * most);
  }
}

static void test_digits(const Kernel& kernel) {
  const float ties[] = {0x1p30f, -0x1p30f, 0.5f, 1.5f, 2.5f,    -0.5f,
                        -1.5f,   -2.5f,    127,  128,  32639.5f};
  check_digits(kernel, "ties", ties, 11);
  const float zeros[300] = {0};
  check_digits(kernel, "zeros", zeros, 300);
  const float tiny[] = {FLT_MIN / 8, -FLT_MIN / 2, FLT_TRUE_MIN, -0.0f};
  check_digits(kernel, "denormals", tiny, 4);
  const float huge[] = {FLT_MAX, -FLT_MAX, FLT_MAX / 2, 1, -FLT_MAX / 3, FLT_MIN};
  check_digits(kernel, "largest", huge, 6);
  Random random = {7};
  Guarded<float> x(1000);
  for (size_t i = 0; i < 1000; i++) x[i] = random.real() * 10;
  check_digits(kernel, "random, seed 7", x.data, 1000);
  for (float bad : {NAN, -INFINITY}) {
    x[999] = bad;
    Guarded<int8_t> q(4 * 1024);
    CHECK(isnan(kernel.quantize_digits(x.data, 1000, 1024, q.data)));
    for (size_t i = 0; i < q.size(); i++) CHECK(q[i] == 0);
  }
}

// Both operators with a scale for each group, by the formulas of ternary_group_matmul.h.
static void check_group(const Kernel& kernel, bool digits, size_t m, size_t groups, size_t n,
                        const Pool& pool) {
  CASE("ternary_%s_matmul %s m %zu groups %zu n %zu seed %zu", digits ? "float" : "group",
       kernel.name, m, groups, n, m + groups + n);
  Random random = {m + groups + n};
  const size_t k = groups * 128, row = (k + 255) / 256 * 64;
  const size_t bytes =
      digits ? ternary_float_matmul_scratch(m, k) : ternary_group_matmul_scratch(m, k);
  Guarded<float> x(m * k), y(m * n), scale(n * groups);
  Guarded<uint8_t> w(n * row), scratch(bytes / 64 * 64 + 64);
  fill(&x, m, k, &random);
  for (size_t i = 0; i < w.size(); i++) w[i] = static_cast<uint8_t>(random.next());
  for (size_t i = 0; i < scale.size(); i++) scale[i] = random.real();
  const TernaryGroupMatMul op = {m, k, n, x.data, w.data, scale.data, y.data};
  (digits ? ternary_float_matmul : ternary_group_matmul)(kernel, op, scratch.data, pool);
  for (size_t i = 0; i < m; i++) {
    const float* row_x = x.data + i * k;
    const bool good = finite(row_x, k);
    float most = FLT_MIN;
    for (size_t c = 0; c < k; c++) most = fmaxf(most, fabsf(row_x[c]));
    const float s8 = 127.0f / absmax(row_x, k);
    const double s = digits ? 0x1p30 / most : s8;
    Guarded<int32_t> q(4 * k);  // the digits of each element, lowest first
    for (size_t c = 0; good && c < k; c++) {
      int64_t v = digits ? static_cast<int64_t>(nearbyint(row_x[c] * s))
                         : quantized(row_x[c], s8, -128, 127);
      for (size_t d = 0; d < 4; d++) {
        const int64_t low = (v + 128) - 256 * static_cast<int64_t>(floor((v + 128) / 256.0)) - 128;
        q[4 * c + d] = static_cast<int32_t>(low);
        v = (v - low) / 256;
      }
    }
    for (size_t j = 0; j < n; j++) {
      double totals[4] = {0};
      for (size_t g = 0; good && g < groups; g++) {
        int32_t sums[4] = {0};
        for (size_t c = g * 128; c < (g + 1) * 128; c++) {
          const int weight = (w[j * row + c / 256 * 64 + c % 64] >> (2 * (c / 64 % 4)) & 3) - 1;
          for (size_t d = 0; d < 4; d++) sums[d] += q[4 * c + d] * weight;
        }
        for (int d = 0; d < 4; d++) {
          totals[d] += sums[d] * static_cast<double>(scale[j * groups + g]);
        }
      }
      const double total = ((totals[3] * 256 + totals[2]) * 256 + totals[1]) * 256 + totals[0];
      CHECK(same_bits(y[i * n + j], good ? static_cast<float>(total / s) : NAN));
    }
  }
}

static void check_int8(const Kernel& kernel, size_t m, size_t k, size_t n, const Pool& pool) {
  CASE("int8_matmul %s m %zu k %zu n %zu seed %zu", kernel.name, m, k, n, m + k + n);
  Random random = {m + k + n};
  Guarded<float> x(m * k), y(m * n), scale(n);
  Guarded<uint8_t> w(n * k), scratch(int8_matmul_scratch(m, k) / 64 * 64 + 64);
  fill(&x, m, k, &random);
  for (size_t i = 0; i < w.size(); i++) w[i] = static_cast<uint8_t>(random.next());
  for (size_t i = 0; i < n; i++) scale[i] = random.real();
  int8_matmul(kernel, {m, k, n, x.data, w.data, scale.data, y.data}, scratch.data, pool);
  for (size_t i = 0; i < m; i++) {
    const float* row_x = x.data + i * k;
    const float s = 32512.0f / absmax(row_x, k), inverse = 1.0f / s;
    const bool good = finite(row_x, k);
    Guarded<int> q(k);
    for (size_t c = 0; good && c < k; c++) q[c] = quantized(row_x[c], s, -32512, 32512);
    for (size_t j = 0; j < n; j++) {
      int64_t sum = 0;
      for (size_t c = 0; good && c < k; c++) sum += q[c] * static_cast<int8_t>(w[j * k + c]);
      const float expected = static_cast<float>(sum) * scale[j] * inverse;
      CHECK(same_bits(y[i * n + j], good ? expected : NAN));
    }
  }
}

static void check_bf16(const Kernel& kernel, size_t m, size_t k, size_t n, const Pool& pool) {
  CASE("bf16_matmul %s m %zu k %zu n %zu seed %zu", kernel.name, m, k, n, m + k + n);
  Random random = {m + k + n};
  Guarded<float> x(m * k), y(m * n);
  Guarded<uint8_t> w(2 * n * k), scratch(bf16_matmul_scratch(m, k) / 64 * 64 + 64);
  fill(&x, m, k, &random);
  for (size_t i = 0; i < n * k; i++) {
    const float value = random.real();
    memcpy(w.data + 2 * i, reinterpret_cast<const char*>(&value) + 2, 2);
  }
  bf16_matmul(kernel, {m, k, n, x.data, w.data, y.data}, scratch.data, pool);
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) {
      double lanes[16] = {0};
      for (size_t c = 0; c < k; c++) {
        float weight = 0;
        memcpy(reinterpret_cast<char*>(&weight) + 2, w.data + 2 * (j * k + c), 2);
        lanes[c % 16] += static_cast<double>(x[i * k + c]) * weight;
      }
      for (int step = 8; step > 0; step /= 2) {
        for (int lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
      }
      CHECK(same_bits(y[i * n + j], static_cast<float>(lanes[0])));
    }
  }
}

static void check_rms_norm(const Kernel& kernel, size_t m, size_t k, bool adds, const Pool& pool) {
  CASE("rms_norm %s m %zu k %zu adds %d", kernel.name, m, k, adds);
  Random random = {m + k};
  Guarded<float> x(m * k), residual(m * k), sum(m * k), weight(k), y(m * k);
  fill(&x, m, k, &random);
  fill(&residual, m, k, &random);
  for (size_t i = 0; i < k; i++) weight[i] = random.real();
  rms_norm(kernel,
           {m, k, x.data, reinterpret_cast<const uint8_t*>(weight.data), 1e-5f, y.data,
            adds ? residual.data : nullptr, sum.data},
           pool);
  for (size_t i = 0; adds && i < m * k; i++) {
    x[i] += residual[i];
    CHECK(same_bits(sum[i], x[i]));
  }
  for (size_t i = 0; i < m; i++) {
    double lanes[16] = {0};
    for (size_t c = 0; c < k; c++) {
      lanes[c % 16] += static_cast<double>(x[i * k + c]) * static_cast<double>(x[i * k + c]);
    }
    for (int step = 8; step > 0; step /= 2) {
      for (int lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
    }
    const double mean = lanes[0] / static_cast<double>(k);
    const float inverse = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(1e-5f)));
    for (size_t c = 0; c < k; c++) {
      CHECK(same_bits(y[i * k + c], (x[i * k + c] * inverse) * weight[c]));
    }
  }
}

int main() {
  const Kernel** list;
  const size_t count = tested_kernels(&list);
  const size_t shapes[][3] = {{0, 5, 5},    {2, 7, 0},      {1, 1, 1},    {1, 257, 33},
                              {3, 640, 70}, {1, 640, 900},  {5, 300, 65}, {6, 2560, 37},
                              {9, 64, 600}, {130, 300, 40}, {515, 65, 35}};
  for (size_t i = 0; i < count; i++) {
    test_quantize(*list[i]);
    test_quantize_not_finite(*list[i]);
    test_digits(*list[i]);
    for (const auto& s : shapes) {
      for (const Pool& pool : {kBackwards, kThreads}) {
        check_ternary(*list[i], s[0], s[1], s[2], false, pool);
        check_ternary(*list[i], s[0], s[1], s[2], true, pool);
        check_rms_norm(*list[i], s[0], s[1], false, pool);
        check_rms_norm(*list[i], s[0], s[1], true, pool);
        check_int8(*list[i], s[0], s[1], s[2], pool);
        check_bf16(*list[i], s[0], s[1], s[2], pool);
        const size_t groups = s[1] / 128 + 1;
        check_group(*list[i], false, s[0], groups, s[2], pool);
        check_group(*list[i], true, s[0], groups, s[2], pool);
      }
    }
  }
  printf("%d failures\n", failures);
  return failures != 0;
}
