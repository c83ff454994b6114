// Every kernel that this CPU offers against the formulas of kernel.h, with ==.
// With an argument: the names of the kernels that must be offered.
#include <limits.h>
#include <math.h>

#include "kernels/dispatch.h"
#include "kernels/kernel.h"
#include "testing/check.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static const size_t kDepths[] = {1,   2,   15,  16,  17,  63,  64,   65,   127,  255,
                                 256, 257, 300, 511, 513, 640, 1281, 2560, 4100, 6912};

static size_t blocks_of(size_t k) { return (k + kBlockK - 1) / kBlockK; }

static int code(const uint8_t* row, size_t k) {
  return row[k / 256 * 64 + k % 64] >> (2 * (k / 64 % 4)) & 3;
}

static int32_t ternary_formula(const uint8_t* row, const int8_t* q, size_t k) {
  int32_t sum = 0;
  for (size_t i = 0; i < k; i++) sum += q[i] * (code(row, i) - 1);
  return sum;
}

// Weights with any code, activations zero from k on.
struct Ternary {
  size_t m, n, k, blocks;
  Guarded<uint8_t> w;
  Guarded<int8_t> q;
  Guarded<int32_t> q_sums;

  Ternary(size_t m, size_t n, size_t k)
      : m(m),
        n(n),
        k(k),
        blocks(blocks_of(k)),
        w(n * blocks * 64),
        q(m * blocks * 256),
        q_sums(m) {}

  void fill(Random* random) {
    for (size_t i = 0; i < w.size(); i++) w[i] = static_cast<uint8_t>(random->next());
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < k; j++) row(i)[j] = static_cast<int8_t>(random->next());
    }
    sum();
  }
  void fill(int weight_code, int activation) {
    memset(w.data, weight_code * 0x55, w.size());
    for (size_t i = 0; i < m; i++) memset(row(i), activation, k);
    sum();
  }
  void sum() {
    for (size_t i = 0; i < m; i++) {
      q_sums[i] = 0;
      for (size_t j = 0; j < k; j++) q_sums[i] += row(i)[j];
    }
  }
  int8_t* row(size_t i) { return q.data + i * blocks * 256; }

  void check(const Kernel& kernel) {
    const int32_t untouched = 0x5a5a5a5a;
    const size_t stride = n + 3;
    Guarded<int32_t> sums(m * stride - 3), one(n);
    for (size_t i = 0; i < sums.size(); i++) sums[i] = untouched;
    kernel.ternary_gemm(m, n, blocks, q.data, q_sums.data, w.data, sums.data, stride);
    for (size_t i = 0; i < m; i++) {
      kernel.ternary_gemv(n, blocks, row(i), q_sums[i], w.data, one.data);
      for (size_t j = 0; j < n; j++) {
        const int32_t expected = ternary_formula(w.data + j * blocks * 64, row(i), k);
        CHECK(sums[i * stride + j] == expected);
        CHECK(one[j] == expected);
      }
      for (size_t j = n; j < stride && i + 1 < m; j++) CHECK(sums[i * stride + j] == untouched);
    }
  }
};

static void test_ternary(const Kernel& kernel) {
  for (size_t k : kDepths) {
    for (size_t size = 1; size <= 17; size++) {
      const size_t other = 1 + (size * 7 + k) % 17, wide = 20 + size * 3;  // around 32, 48, 64
      const size_t shapes[][2] = {{size, other}, {size, k < 1000 ? wide : 3}};
      for (const auto& shape : shapes) {
        Random random = {k * 1000 + size};
        CASE("ternary %s m %zu n %zu k %zu seed %zu", kernel.name, shape[0], shape[1], k,
             k * 1000 + size);
        Ternary t(shape[0], shape[1], k);
        t.fill(&random);
        t.check(kernel);
      }
    }
  }
}

static void test_ternary_extremes(const Kernel& kernel) {
  for (size_t k : {size_t{6912}, kTestedK}) {
    Ternary t(5, 3, k);
    for (int weight_code = 0; weight_code < 4; weight_code++) {
      for (int activation : {-128, -127, 0, 127}) {
        CASE("ternary %s k %zu, all codes %d, all activations %d", kernel.name, k, weight_code,
             activation);
        t.fill(weight_code, activation);
        t.check(kernel);
      }
    }
  }
}

// The formula of kernel.h, in its order.
static double group_formula(const uint8_t* row, const float* scale, const int8_t* q,
                            size_t groups) {
  double total = 0;
  for (size_t g = 0; g < groups; g++) {
    int32_t sum = 0;
    for (size_t k = g * 128; k < (g + 1) * 128; k++) sum += q[k] * (code(row, k) - 1);
    total += static_cast<double>(sum) * static_cast<double>(scale[g]);
  }
  return total;
}

static bool same_bits(double a, double b) {
  return memcmp(&a, &b, 8) == 0 || (isnan(a) && isnan(b));
}

// Weights with any code, also past the last group, where activations are zero.
struct Grouped {
  size_t m, n, groups;
  Ternary t;
  Guarded<float> scale;
  Guarded<int32_t> q_sums;

  Grouped(size_t m, size_t n, size_t groups)
      : m(m), n(n), groups(groups), t(m, n, groups * 128), scale(n * groups), q_sums(m * groups) {}

  void check(const Kernel& kernel) {
    for (size_t i = 0; i < q_sums.size(); i++) {
      q_sums[i] = 0;
      for (size_t k = 0; k < 128; k++) q_sums[i] += t.row(i / groups)[i % groups * 128 + k];
    }
    const double untouched = 12345.0;
    const size_t stride = n + 3;
    Guarded<double> totals(m * stride - 3);
    for (size_t i = 0; i < totals.size(); i++) totals[i] = untouched;
    kernel.ternary_group(m, n, groups, t.q.data, q_sums.data, t.w.data, scale.data, totals.data,
                         stride);
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < n; j++) {
        const double expected =
            group_formula(t.w.data + j * t.blocks * 64, scale.data + j * groups, t.row(i), groups);
        CHECK(same_bits(totals[i * stride + j], expected));
      }
      for (size_t j = n; j < stride && i + 1 < m; j++) CHECK(totals[i * stride + j] == untouched);
    }
  }
};

static void test_ternary_group(const Kernel& kernel) {
  for (size_t groups : {1, 2, 3, 4, 5, 20, 54}) {
    for (size_t size = 1; size <= 17; size++) {
      const size_t other = 1 + (size * 7 + groups) % 17, wide = 20 + size * 3;  // around 32, 48, 64
      const size_t shapes[][2] = {{size, other}, {size, groups < 10 ? wide : 3}};
      for (const auto& shape : shapes) {
        const size_t seed = groups * 1000 + size;
        Random random = {seed};
        CASE("ternary group %s m %zu n %zu groups %zu seed %zu", kernel.name, shape[0], shape[1],
             groups, seed);
        Grouped g(shape[0], shape[1], groups);
        g.t.fill(&random);
        for (size_t i = 0; i < g.scale.size(); i++) {
          g.scale[i] = ldexpf(random.real(), static_cast<int>(random.below(60)) - 30);
        }
        g.check(kernel);
      }
    }
  }
}

static void test_ternary_group_extremes(const Kernel& kernel) {
  for (size_t groups : {size_t{54}, kMaxK / 128}) {
    Grouped g(5, 3, groups);
    for (int weight_code = 0; weight_code < 4; weight_code++) {
      for (int activation : {-128, 0, 127}) {
        CASE("ternary group %s groups %zu, all codes %d, all activations %d", kernel.name, groups,
             weight_code, activation);
        g.t.fill(weight_code, activation);
        for (size_t i = 0; i < g.scale.size(); i++) g.scale[i] = 0x1.fffffep+127f;
        g.check(kernel);
        for (size_t i = 0; i < g.scale.size(); i++) g.scale[i] = i % 2 ? -0x1p-149f : 0.0f;
        g.check(kernel);
        g.scale[groups] = NAN;  // of the second row alone
        g.scale[2 * groups] = INFINITY;
        g.check(kernel);
      }
    }
  }
}

static float bf16(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static float bf16_formula(const float* x, const uint16_t* w, size_t k) {
  double lanes[16] = {0};
  for (size_t i = 0; i < k; i++) lanes[i % 16] += static_cast<double>(x[i]) * bf16(w[i]);
  for (int step = 8; step > 0; step /= 2) {
    for (int lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
  }
  return static_cast<float>(lanes[0]);
}

static bool same_bits(float a, float b) { return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b)); }

static void check_bf16(const Kernel& kernel, size_t n, size_t k, bool any_bits, uint64_t seed) {
  CASE("bf16 %s n %zu k %zu any bits %d seed %llu", kernel.name, n, k, any_bits,
       static_cast<unsigned long long>(seed));
  Random random = {seed};
  const size_t padded = (k + kPadBf16 - 1) / kPadBf16 * kPadBf16;
  Guarded<float> x(k), y(n);
  Guarded<double> wide(padded);
  Guarded<uint16_t> w(n * k);
  for (size_t i = 0; i < k; i++) {
    x[i] = random.real() * (random.below(50) ? 1 : 1e30f);
    wide[i / 16 * 16 + i % 16 / 2 + (i % 2 ? 8 : 0)] = x[i];
  }
  for (size_t i = 0; i < w.size(); i++) {
    const float value = random.real();
    uint32_t bits;
    memcpy(&bits, &value, 4);
    w[i] = any_bits && random.below(8) == 0 ? static_cast<uint16_t>(random.next())
                                            : static_cast<uint16_t>(bits >> 16);
  }
  kernel.bf16_gemv(n, k, wide.data, reinterpret_cast<const uint8_t*>(w.data), y.data);
  for (size_t i = 0; i < n; i++) CHECK(same_bits(y[i], bf16_formula(x.data, w.data + i * k, k)));
}

static void test_bf16(const Kernel& kernel) {
  for (size_t k : kDepths) {
    for (size_t n = 1; n <= 9; n++) {
      check_bf16(kernel, n, k, false, k * 100 + n);
      check_bf16(kernel, n, k, true, k * 200 + n);
    }
  }
}

static int64_t int8_formula(const int16_t* q, const int8_t* w, size_t k) {
  int64_t sum = 0;
  for (size_t i = 0; i < k; i++) sum += static_cast<int64_t>(q[i]) * w[i];
  return sum;
}

struct Int8 {
  size_t n, k;
  Guarded<int8_t> w;
  Guarded<int16_t> q;
  Guarded<int64_t> sums;

  Int8(size_t n, size_t k)
      : n(n), k(k), w(n * k), q((k + kPadInt8 - 1) / kPadInt8 * kPadInt8), sums(n) {}

  void check(const Kernel& kernel) {
    kernel.int8_gemv(n, k, q.data, reinterpret_cast<const uint8_t*>(w.data), sums.data);
    for (size_t i = 0; i < n; i++) CHECK(sums[i] == int8_formula(q.data, w.data + i * k, k));
  }
};

static void test_int8(const Kernel& kernel) {
  for (size_t k : kDepths) {
    for (size_t n = 1; n <= 9; n++) {
      CASE("int8 %s n %zu k %zu seed %zu", kernel.name, n, k, k * 300 + n);
      Random random = {k * 300 + n};
      Int8 t(n, k);
      for (size_t i = 0; i < t.w.size(); i++) t.w[i] = static_cast<int8_t>(random.next());
      for (size_t i = 0; i < k; i++) t.q[i] = static_cast<int16_t>(random.below(65025)) - 32512;
      t.check(kernel);
    }
  }
  for (size_t k : {size_t{6912}, size_t{9000}, size_t{kMaxK}}) {
    Int8 t(5, k);
    for (int weight : {-128, 127}) {
      for (int activation : {-32512, -128, 32512}) {
        CASE("int8 %s k %zu, all weights %d, all activations %d", kernel.name, k, weight,
             activation);
        memset(t.w.data, weight, t.w.size());
        for (size_t i = 0; i < k; i++) t.q[i] = static_cast<int16_t>(activation);
        t.check(kernel);
      }
    }
  }
}

static void test_read(const Kernel& kernel) {
  for (size_t bytes : {0, 1, 7, 8, 63, 64, 255, 256, 263, 4096, 5000}) {
    CASE("read %s, %zu bytes", kernel.name, bytes);
    Random random = {bytes};
    Guarded<uint8_t> data(bytes);
    for (size_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>(random.next());
    uint64_t expected = 0;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
      uint64_t word;
      memcpy(&word, data.data + i, 8);
      expected ^= word;
    }
    CHECK(kernel.read(data.data, bytes) == expected);
  }
}

static void test_dispatch(const char* must_offer) {
  CASE("dispatch");
  const Kernel** list;
  const size_t count = offered_kernels(&list);
  printf("kernels: %s\n", offered_names());
  CHECK(count >= 1 && strcmp(list[count - 1]->name, "scalar") == 0);
  for (size_t i = 0; i < count; i++) CHECK(find_kernel(list[i]->name) == list[i]);
  CHECK(find_kernel(nullptr) == list[0]);
  CHECK(find_kernel("") == list[0]);
  CHECK(find_kernel("sca") == nullptr);
  CHECK(find_kernel("scalar,avx2") == nullptr);
  setenv("BITNET_ONNX_KERNEL", "scalar", 1);
  CHECK(find_kernel(forced_name()) == list[count - 1]);
  unsetenv("BITNET_ONNX_KERNEL");
  CHECK(forced_name() == nullptr);
  if (must_offer) CHECK(strcmp(offered_names(), must_offer) == 0);
}

int main(int argc, char** argv) {
  const Kernel** list;
  const size_t count = tested_kernels(&list);
  test_dispatch(argc > 1 ? argv[1] : nullptr);
  for (size_t i = 0; i < count; i++) {
    test_ternary(*list[i]);
    test_ternary_extremes(*list[i]);
    test_ternary_group(*list[i]);
    test_ternary_group_extremes(*list[i]);
    test_bf16(*list[i]);
    test_int8(*list[i]);
    test_read(*list[i]);
  }
  printf("%d failures\n", failures);
  return failures != 0;
}
