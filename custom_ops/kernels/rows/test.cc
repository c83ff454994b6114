// Every row of the list that this CPU can run, against the formulas, with ==.
#include <float.h>

#include "testing/activations.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  QuantizeInt8* quantize_int8;
  QuantizeInt16* quantize_int16;
  QuantizeDigits* quantize_digits;
  WidenBf16* widen_bf16;
  RmsNormRow* rms_norm;
  Rotate* rotate;
  ScaleSums* scale_sums;
  ScaleSumsEach* scale_sums_each;
  GateRow* gate;
  SiluRow* silu;
  GeluRow* gelu;
  AddScaled* add_scaled;
  DotRow* dot;
  AddSums* add_sums;
  AddReals* add_reals;
  DivideReals* divide_reals;
} const kRows[] = {
#define KERNEL(isa, needs) \
  {#isa,                   \
   needs,                  \
   quantize_int8_##isa,    \
   quantize_int16_##isa,   \
   quantize_digits_##isa,  \
   widen_bf16_##isa,       \
   rms_norm_##isa,         \
   rotate_##isa,           \
   scale_sums_##isa,       \
   scale_sums_each_##isa,  \
   gate_##isa,             \
   silu_##isa,             \
   gelu_##isa,             \
   add_scaled_##isa,       \
   dot_##isa,              \
   add_sums_##isa,         \
   add_reals_##isa,        \
   divide_reals_##isa},
#include "kernels/rows/kernels.inc"
};

void check_row(const Row& row, const char* what, const float* x, size_t k) {
  CASE("quantize %s, %s, k %zu", row.isa, what, k);
  const size_t padded = (k + 255) / 256 * 256;
  Guarded<int8_t> q8(padded);
  Guarded<int16_t> q16(padded);
  memset(q8.data, 99, padded);
  memset(q16.data, 99, 2 * padded);
  int32_t sum = 0, expected_sum = 0;
  const float s8 = row.quantize_int8(x, k, padded, q8.data, &sum);
  const float s16 = row.quantize_int16(x, k, padded, q16.data);
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

void test_quantize(const Row& row) {
  // absmax 127 makes the scale 1, so that the ties are exact.
  const float ties[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -126.5f, 0.49999997f};
  check_row(row, "ties", ties, 10);
  const float ties16[] = {32512, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 32511.5f, -32511.5f};
  check_row(row, "ties of int16", ties16, 9);
  const float zeros[300] = {0};
  check_row(row, "zeros", zeros, 300);
  const float tiny[] = {FLT_MIN / 8, -FLT_MIN / 2, FLT_MIN, -FLT_TRUE_MIN, -0.0f};
  check_row(row, "denormals", tiny, 5);
  const float huge[] = {FLT_MAX, -FLT_MAX, FLT_MAX / 2, 1, -FLT_MAX / 3, FLT_MIN};
  check_row(row, "largest", huge, 6);
  const float small[] = {9e-6f, -1e-5f, 5e-6f, 3.937e-8f};  // below the clamp of absmax
  check_row(row, "below 1e-5", small, 4);
  for (size_t k = 1; k < 300; k += k < 70 ? 1 : 37) {
    Random random = {k};
    Guarded<float> x(k);
    for (size_t i = 0; i < k; i++) x[i] = random.real() * 10;
    check_row(row, "random, seed k", x.data, k);
  }
}

void test_quantize_not_finite(const Row& row) {
  const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
  for (float value : bad) {
    for (size_t at : {0, 5, 38}) {
      CASE("quantize %s, %f at %zu", row.isa, static_cast<double>(value), at);
      float x[39];
      for (int i = 0; i < 39; i++) x[i] = static_cast<float>(i) - 20;
      x[at] = value;
      int8_t q8[256];
      int16_t q16[64];
      int32_t sum = 0;
      CHECK(isnan(row.quantize_int8(x, 39, 256, q8, &sum)));
      CHECK(isnan(row.quantize_int16(x, 39, 64, q16)));
      for (int i = 0; i < 39; i++) CHECK(q8[i] == 0 && q16[i] == 0);
      CHECK(sum == 0);
    }
  }
}

// The digits of x, in libm's words.
void check_digits(const Row& row, const char* what, const float* x, size_t k) {
  CASE("digits, %s, of %s, k %zu", row.isa, what, k);
  const size_t padded = (k + 255) / 256 * 256;
  Guarded<int8_t> q(4 * padded);
  memset(q.data, 99, 4 * padded);
  float most = FLT_MIN;
  for (size_t i = 0; i < k; i++) most = fmaxf(most, fabsf(x[i]));
  const double s = row.quantize_digits(x, k, padded, q.data);
  CHECK(s == 0x1p30 / most);
  for (size_t i = 0; i < padded; i++) {
    const int64_t value =
        q[i] + 256ll * q[padded + i] + 65536ll * q[2 * padded + i] + 16777216ll * q[3 * padded + i];
    CHECK(value == (i < k ? static_cast<int64_t>(nearbyint(x[i] * s)) : 0));
    if (i < k) CHECK(fabs(x[i] - static_cast<double>(value) / s) <= 0x1p-31 * most);
  }
}

void test_digits(const Row& row) {
  const float ties[] = {0x1p30f, -0x1p30f, 0.5f, 1.5f, 2.5f,    -0.5f,
                        -1.5f,   -2.5f,    127,  128,  32639.5f};
  check_digits(row, "ties", ties, 11);
  const float zeros[300] = {0};
  check_digits(row, "zeros", zeros, 300);
  const float tiny[] = {FLT_MIN / 8, -FLT_MIN / 2, FLT_TRUE_MIN, -0.0f};
  check_digits(row, "denormals", tiny, 4);
  const float huge[] = {FLT_MAX, -FLT_MAX, FLT_MAX / 2, 1, -FLT_MAX / 3, FLT_MIN};
  check_digits(row, "largest", huge, 6);
  Random random = {7};
  Guarded<float> x(1000);
  for (size_t i = 0; i < 1000; i++) x[i] = random.real() * 10;
  check_digits(row, "random, seed 7", x.data, 1000);
  for (float bad : {NAN, -INFINITY}) {
    x[999] = bad;
    Guarded<int8_t> q(4 * 1024);
    CHECK(isnan(row.quantize_digits(x.data, 1000, 1024, q.data)));
    for (size_t i = 0; i < q.size(); i++) CHECK(q[i] == 0);
  }
}

void test_widen(const Row& row, size_t k) {
  CASE("widen_bf16_%s k %zu", row.isa, k);
  Random random = {k};
  const size_t padded = (k + 15) / 16 * 16;
  Guarded<float> x(k);
  Guarded<double> wide(padded), expected(padded);
  for (size_t i = 0; i < padded; i++) expected[i] = 0;
  for (size_t i = 0; i < k; i++) {
    x[i] = random.real();
    expected[i / 16 * 16 + i % 16 / 2 + (i % 2 ? 8 : 0)] = x[i];
  }
  row.widen_bf16(x.data, k, padded, wide.data);
  for (size_t i = 0; i < padded; i++) CHECK(wide[i] == expected[i]);
}

void test_rotate(const Row& row, size_t count) {
  CASE("rotate_%s count %zu", row.isa, count);
  Random random = {count};
  Guarded<float> low(count), high(count), cosines(count), sines(count), out_low(count),
      out_high(count);
  for (Guarded<float>* x : {&low, &high, &cosines, &sines}) {
    for (size_t i = 0; i < count; i++) (*x)[i] = random.real();
  }
  row.rotate(count, low.data, high.data, cosines.data, sines.data, out_low.data, out_high.data);
  for (size_t i = 0; i < count; i++) {
    const float a = low[i] * cosines[i], b = high[i] * sines[i];
    const float c = high[i] * cosines[i], d = low[i] * sines[i];
    CHECK(same_bits(out_low[i], a - b) && same_bits(out_high[i], c + d));
  }
}

void test_ends(const Row& row, size_t count) {
  CASE("ends_%s count %zu", row.isa, count);
  Random random = {count};
  Guarded<int32_t> sums(count);
  Guarded<float> scales(count), up(count), y(count);
  for (size_t i = 0; i < count; i++) {
    sums[i] = static_cast<int32_t>(random.below(1u << 25)) - (1 << 24);
    scales[i] = 1 + random.real() / 2;
    up[i] = i % 5 == 1 ? INFINITY : i % 7 == 2 ? NAN : random.real();
  }
  row.scale_sums(count, sums.data, 0.37f, y.data);
  for (size_t i = 0; i < count; i++) CHECK(y[i] == static_cast<float>(sums[i]) * 0.37f);
  row.scale_sums_each(count, sums.data, bytes_of(scales), 3.7f, y.data);
  for (size_t i = 0; i < count; i++) {
    CHECK(y[i] == static_cast<float>(sums[i]) * (scales[i] / 3.7f));
  }
  Guarded<int32_t> total(count);
  for (size_t i = 0; i < count; i++) total[i] = static_cast<int32_t>(i) - 7;
  row.add_sums(count, sums.data, total.data);
  for (size_t i = 0; i < count; i++) CHECK(total[i] == sums[i] + static_cast<int32_t>(i) - 7);
  Guarded<double> more(count), real(count);
  for (size_t i = 0; i < count; i++) {
    more[i] = random.real();
    real[i] = i % 6 == 1 ? -INFINITY : random.real() * 9;
  }
  row.divide_reals(count, real.data, 0.7, y.data);
  for (size_t i = 0; i < count; i++) {
    CHECK(same_bits(y[i], static_cast<float>(real.data[i] / 0.7)));
  }
  Guarded<double> added(count);
  memcpy(added.data, real.data, count * sizeof(double));
  row.add_reals(count, more.data, added.data);
  for (size_t i = 0; i < count; i++) CHECK(added[i] == real[i] + more[i]);
  const float gates[] = {0, -0.0f, 1e-30f, -3, 2.5f, NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < count; i++) y[i] = gates[random.below(8)];
  const Guarded<float>& before = y;
  Guarded<float> expected(count);
  for (size_t i = 0; i < count; i++) {
    const float positive = before.data[i] < 0 ? 0 : before.data[i], square = positive * positive;
    expected[i] = square == 0 ? 0 : square * up[i];
  }
  row.gate(count, up.data, y.data);
  for (size_t i = 0; i < count; i++) {
    CHECK(isnan(expected[i]) ? isnan(y[i]) : same_bits(y[i], expected[i]));
  }
}

// exp(-|x|) of attend_softmax.h, which attend_softmax gives for two scores.
float exp_of_minus(float x) {
  const float scores[2] = {0, -fabsf(x)};
  double weights[2];
  attend_softmax_scalar(2, scores, weights);
  return static_cast<float>(weights[1]);
}

void test_silu(const Row& row, size_t count) {
  CASE("silu_%s count %zu", row.isa, count);
  Random random = {count};
  const float gates[] = {0, -0.0f, 1e-30f, -1e-40f, 87.5f, -87, -100, 3e38f, -3e38f, NAN, INFINITY};
  Guarded<float> up(count), y(count), gate(count);
  for (size_t i = 0; i < count; i++) {
    gate[i] = i % 4 ? 30 * random.real() : gates[random.below(sizeof gates / sizeof *gates)];
    up[i] = i % 9 ? random.real() : gates[random.below(sizeof gates / sizeof *gates)];
    y[i] = gate[i];
  }
  row.silu(count, up.data, y.data);
  for (size_t i = 0; i < count; i++) {
    const float e = isnan(gate[i]) ? NAN : exp_of_minus(gate[i]);
    const float sigmoid = (gate[i] < 0 ? e : 1.0f) / (1.0f + e), opened = gate[i] * sigmoid;
    CHECK(same_bits(y[i], opened * up[i]));
    const double exact = static_cast<double>(gate[i]) / (1 + exp(-static_cast<double>(gate[i])));
    if (fabsf(gate[i]) < 80)
      CHECK(fabs(static_cast<double>(opened) - exact) <= 4e-7 * fabs(exact) + 1e-44);
  }
}

void test_gelu(const Row& row, size_t count) {
  CASE("gelu_%s count %zu", row.isa, count);
  Random random = {count};
  const float gates[] = {0, -0.0f, 1e-30f, -1e-40f, 5, -5, -9, 3e38f, -3e12f, NAN, INFINITY};
  Guarded<float> up(count), y(count), gate(count);
  for (size_t i = 0; i < count; i++) {
    gate[i] = i % 4 ? 6 * random.real() : gates[random.below(sizeof gates / sizeof *gates)];
    up[i] = i % 9 ? random.real() : gates[random.below(sizeof gates / sizeof *gates)];
    y[i] = gate[i];
  }
  row.gelu(count, up.data, y.data);
  for (size_t i = 0; i < count; i++) {
    const float square = gate[i] * gate[i], cube = square * gate[i] * kGeluCube;
    const float twice = (gate[i] + cube) * kGeluTwice;
    const float e = isnan(twice) ? NAN : exp_of_minus(twice);
    const float opened = gate[i] * ((twice < 0 ? e : 1.0f) / (1.0f + e));
    CHECK(same_bits(y[i], opened * up[i]));
    const double g = static_cast<double>(gate[i]);
    const double exact = 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
    if (fabs(g) < 10) CHECK(fabs(static_cast<double>(opened) - exact) <= 2e-6 * fabs(g) + 1e-44);
  }
}

// Sums of floats with a weight at any address, in the order of rows.h.
void test_sums(const Row& row, size_t count) {
  CASE("dot_%s count %zu", row.isa, count);
  Random random = {count};
  Guarded<float> x(count), y(count), w(count);
  Guarded<uint8_t> bytes(4 * count + 1);  // its end is at a page's, so its start is odd
  double lanes[16] = {0};
  for (size_t i = 0; i < count; i++) {
    x[i] = random.real();
    w[i] = random.real();
    y[i] = random.real();
    lanes[i % 16] += static_cast<double>(x[i]) * static_cast<double>(w[i]);
  }
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  }
  memcpy(bytes.data + 1, w.data, 4 * count);
  CHECK(row.dot(count, x.data, bytes.data + 1) == static_cast<float>(lanes[0]));
  memmove(bytes.data, bytes.data + 1, 4 * count);
  CHECK(row.dot(count, x.data, bytes.data) == static_cast<float>(lanes[0]));
  Guarded<float> expected(count);
  for (size_t i = 0; i < count; i++) {
    const float product = x[i] * 0.3f;
    expected[i] = y[i] + product;
  }
  row.add_scaled(count, x.data, 0.3f, y.data);
  for (size_t i = 0; i < count; i++) CHECK(same_bits(y[i], expected[i]));
}

}  // namespace

TEST(rows, quantizers) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    test_quantize(row);
    test_quantize_not_finite(row);
    test_digits(row);
  }
}

TEST(rows, others) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k = 1; k < 200; k += k < 70 ? 1 : 37) {
      test_widen(row, k);
      test_rotate(row, k);
      test_ends(row, k);
      test_silu(row, k);
      test_gelu(row, k);
      test_sums(row, k);
    }
  }
}
