// The operators that skip weights, at every share of zeros, against plain loops over all weights.
#include "operators/ternary_feed_forward/ternary_column_matmul.h"
#include "operators/ternary_feed_forward/ternary_gated_matmul.h"
#include "testing/activations.h"

using namespace bitnet;

namespace {

bool same(float a, float b) { return a == b || (isnan(a) && isnan(b)); }

// A row of x, quantized with libm; `finite` is false where it holds a NaN or an infinity: q is 0.
struct Quantized {
  float scale = 0;
  std::vector<int> q;
  bool finite = true;

  Quantized(const float* x, size_t k) : q(k) {
    float most = 1e-5f;
    for (size_t i = 0; i < k; i++) {
      most = fmaxf(most, fabsf(x[i]));
      finite = finite && isfinite(x[i]);
    }
    scale = 127.0f / most;
    for (size_t i = 0; finite && i < k; i++) q[i] = static_cast<int>(nearbyintf(x[i] * scale));
  }
};

std::vector<Quantized> rows_of(const Guarded<float>& x, size_t m, size_t k) {
  std::vector<Quantized> rows;
  for (size_t i = 0; i < m; i++) rows.emplace_back(x.data + i * k, k);
  return rows;
}

// Each x is not 0 with probability `share` percent; some rows hold a NaN or an infinity.
void fill_share(Guarded<float>* x, size_t m, size_t k, size_t share, Random* random) {
  for (size_t i = 0; i < x->size(); i++) (*x)[i] = random->below(100) < share ? random->real() : 0;
  for (size_t i = 1; i < m; i += 3) (*x)[i * k + random->below(k)] = i % 2 ? NAN : -INFINITY;
}

// Calls run(kernels, pool) for all of them.
template <typename Run>
void for_kernels(const Run& run) {
  const Kernels** list;
  const size_t count = tested_kernels(&list);
  for (size_t i = 0; i < count; i++) {
    for (const Pool& pool : pools()) run(*list[i], pool);
  }
}

void check_columns(size_t m, size_t k, size_t n, size_t share) {
  Random random = {m + k + n};
  Guarded<float> x(m * k), y(m * n), scales(n);
  Guarded<uint8_t> w(k * row_bytes_for(n)),
      scratch(ternary_column_matmul_scratch(m, k, n) / 64 * 64 + 64);
  fill_share(&x, m, k, share, &random);
  fill_bytes(&w, &random);
  if (n % 2 == 0) make_valid(&w);
  for (size_t i = 0; i < n; i++) scales[i] = 1 + random.real() / 2;
  const std::vector<Quantized> rows = rows_of(x, m, k);
  std::vector<int32_t> sums(m * n);
  for (size_t c = 0; c < k; c++) {
    const std::vector<int8_t> weights = weights_of(w.data + c * row_bytes_for(n), n);
    for (size_t i = 0; i < m; i++) {
      if (rows[i].q[c]) add_product(rows[i].q[c], weights, sums.data() + i * n);
    }
  }
  for_kernels([&](const Kernels& kernels, const Pool& pool) {
    CASE("ternary_column_matmul %s m %zu k %zu n %zu %zu %% seed %zu", kernels.name, m, k, n, share,
         m + k + n);
    for (size_t i = 0; i < y.size(); i++) y[i] = 7;
    ternary_column_matmul(
        kernels,
        {.m = m, .k = k, .n = n, .x = x.data, .w = w.data, .scales = bytes_of(scales), .y = y.data},
        scratch.data, pool);
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < n; j++) {
        const float expected = static_cast<float>(sums[i * n + j]) * (scales[j] / rows[i].scale);
        CHECK(same(y[i * n + j], rows[i].finite ? expected : NAN));
      }
    }
  });
}

// `share` percent of the gate's rows are all +1, the others all -1, on positive activations; or
// any weights where `share` is above 100.
void check_gated(size_t m, size_t k, size_t n, size_t share) {
  Random random = {m + k + n};
  const size_t row = row_bytes_for(k);
  Guarded<float> x(m * k), y(m * n);
  Guarded<uint8_t> gate(n * row), up(n * row),
      scratch(ternary_gated_matmul_scratch(m, k) / 64 * 64 + 64);
  fill_share(&x, m, k, 100, &random);
  fill_bytes(&gate, &random);
  fill_bytes(&up, &random);
  if (n % 2 == 0) {
    make_valid(&gate);
    make_valid(&up);
  }
  if (share <= 100) {
    for (size_t i = 0; i < x.size(); i++) x[i] = fabsf(x[i]);
    for (size_t i = 0; i < n; i++) {
      memset(gate.data + i * row, random.below(100) < share ? 0xaa : 0, row);
    }
  }
  const float scales[2] = {0.7f, 1.3f};
  const std::vector<Quantized> rows = rows_of(x, m, k);
  std::vector<float> expected(m * n, NAN);
  for (size_t j = 0; j < n; j++) {
    const std::vector<int8_t> opens = weights_of(gate.data + j * row, k),
                              raises = weights_of(up.data + j * row, k);
    for (size_t i = 0; i < m; i++) {
      const int* q = rows[i].q.data();
      const float gate_scale = scales[0] / rows[i].scale, up_scale = scales[1] / rows[i].scale;
      const float opened = fmaxf(static_cast<float>(product(q, opens)) * gate_scale, 0);
      const float upper = static_cast<float>(product(q, raises)) * up_scale;
      if (rows[i].finite) expected[i * n + j] = opened * opened * upper;
    }
  }
  for_kernels([&](const Kernels& kernels, const Pool& pool) {
    CASE("ternary_gated_matmul %s m %zu k %zu n %zu %zu %% seed %zu", kernels.name, m, k, n, share,
         m + k + n);
    for (size_t i = 0; i < y.size(); i++) y[i] = 7;
    ternary_gated_matmul(kernels,
                         {.m = m,
                          .k = k,
                          .n = n,
                          .x = x.data,
                          .gate = gate.data,
                          .up = up.data,
                          .gate_scale = reinterpret_cast<const uint8_t*>(&scales[0]),
                          .up_scale = reinterpret_cast<const uint8_t*>(&scales[1]),
                          .y = y.data},
                         scratch.data, pool);
    for (size_t i = 0; i < y.size(); i++) CHECK(same(y[i], expected[i]));
  });
}

// All weights that meet a zero count as not read, and no others.
void check_skipped(const Kernels& kernels) {
  CASE("skipped %s", kernels.name);
  const size_t k = 512, n = 300;
  Guarded<float> x(k), y(n), scales(n);
  Guarded<uint8_t> w(k * row_bytes_for(n)),
      scratch(ternary_column_matmul_scratch(1, k, n) / 64 * 64 + 64);
  memset(w.data, 0xaa, w.size());
  for (size_t i = 0; i < n; i++) scales[i] = 1;
  for (size_t i = 0; i < k; i++) x[i] = i % 4 ? 0.0f : 1.0f;
  Count skipped(0);
  ternary_column_matmul(kernels,
                        {.m = 1,
                         .k = k,
                         .n = n,
                         .x = x.data,
                         .w = w.data,
                         .scales = bytes_of(scales),
                         .y = y.data,
                         .skipped = &skipped},
                        scratch.data, kBackwards);
  CHECK(skipped == k / 4 * 3 * row_bytes_for(n));
}

constexpr size_t kShapes[][3] = {{1, 1, 1},      {1, 64, 256},   {1, 300, 2560}, {2, 2560, 70},
                                 {3, 257, 513},  {1, 6912, 300}, {5, 65, 40},    {6, 300, 257},
                                 {140, 70, 300}, {515, 33, 20},  {20, 300, 512}, {131, 80, 1152},
                                 {4, 70, 1100},  {1, 65, 2100}};

template <typename Check>
void for_shapes(const Check& check) {
  for (const auto& s : kShapes) {
    for (size_t share : {0, 1, 50, 99, 100, 101}) check(s[0], s[1], s[2], share);
  }
}

}  // namespace

TEST(ternary_feed_forward, columns) { for_shapes(check_columns); }

TEST(ternary_feed_forward, gated) { for_shapes(check_gated); }

TEST(ternary_feed_forward, skipped) {
  const Kernels** list;
  const size_t count = tested_kernels(&list);
  for (size_t i = 0; i < count; i++) check_skipped(*list[i]);
}
