#include "operators/ternary_group_matmul/ternary_group_matmul.h"

#include "operators/ternary.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kDigits = 4;            // int8 rows of one activation row that is not quantized
constexpr size_t kSlab = 512;            // int8 rows at a time: bounds the scratch
constexpr size_t kTall = 128;            // int8 rows of one task
constexpr size_t kTotals = 4096;         // totals that a task keeps on its stack
constexpr size_t kTaskWork = 2u << 20;   // multiply-adds that are worth a task, some 20 us
constexpr size_t kQuantizeWork = 16384;  // activations that are worth a task, some 10 us
static_assert(kTall % kDigits == 0 && kSlab % kDigits == 0, "whole activation rows");
static_assert(kTall * kTileN <= kTotals, "a task of one tile fits");

// How many activation rows are taken at a time.
size_t slab_of(size_t m, size_t digits) { return smaller(m, kSlab / digits); }

struct Slab {
  const Kernels& kernels;
  const TernaryGroupMatMul& op;
  size_t digits;  // int8 rows of one activation row
  size_t first, m, groups, row_bytes, padded;
  double* act_scale;  // [m]
  int8_t* q;          // [m * digits, padded]
  int32_t* q_sums;    // [m * digits, groups]
};

void sum_groups(const int8_t* q, size_t groups, int32_t* sums) {
  for (size_t g = 0; g < groups; g++, q += kGroupK) {
    int32_t sum = 0;
    for (size_t k = 0; k < kGroupK; k++) sum += q[k];
    sums[g] = sum;
  }
}

void quantize(const Slab& s, const Pool& pool) {
  const size_t k = s.op.k, rows = kQuantizeWork / (k * s.digits) + 1;
  parallel(pool, parts(s.m, rows), [&](size_t task) {
    for (size_t i = task * rows; i < smaller(s.m, (task + 1) * rows); i++) {
      const float* x = s.op.x + (s.first + i) * k;
      int8_t* q = s.q + i * s.digits * s.padded;
      int32_t sum;
      s.act_scale[i] = s.digits == 1
                           ? static_cast<double>(s.kernels.quantize_int8(x, k, s.padded, q, &sum))
                           : s.kernels.quantize_digits(x, k, s.padded, q);
      for (size_t d = i * s.digits; d < (i + 1) * s.digits; d++) {
        sum_groups(s.q + d * s.padded, s.groups, s.q_sums + d * s.groups);
      }
    }
  });
}

// totals: those of the digits of activation row i of the slab, `stride` doubles from each other
void scale(const Slab& s, size_t i, size_t n0, size_t count, const double* totals, size_t stride) {
  float* y = s.op.y + (s.first + i) * s.op.n + n0;
  const double act_scale = s.act_scale[i];
  for (size_t n = 0; n < count; n++) {
    double total = totals[(s.digits - 1) * stride + n];
    for (size_t d = s.digits - 1; d-- > 0;) total = total * 256.0 + totals[d * stride + n];
    y[n] = static_cast<float>(total / act_scale);
  }
}

// Tasks are rectangles of `tall` int8 rows by `wide` weight rows. With few int8 rows, the weights
// are read once, from memory, and tasks split only these. With many, a task has kTall by a tile.
void multiply(const Slab& s, const Pool& pool) {
  const size_t whole = s.m * s.digits, tall = smaller(whole, kTall);
  const size_t fits = kTotals / tall / kTileN * kTileN;
  const size_t worth = kTaskWork / (tall * s.padded) / kTileN * kTileN;
  const size_t wide = whole <= kFewRows ? rows_per_task(s.op.n, s.row_bytes, 4, fits)
                      : worth < kTileN  ? kTileN
                                        : smaller(worth, fits);
  const size_t across = parts(s.op.n, wide);
  parallel(pool, across * parts(whole, tall), [&](size_t task) {
    double totals[kTotals];
    const size_t n0 = task % across * wide, d0 = task / across * tall;
    const size_t count = smaller(wide, s.op.n - n0), m = smaller(tall, whole - d0);
    s.kernels.ternary_group(m, count, s.groups, s.q + d0 * s.padded, s.q_sums + d0 * s.groups,
                            s.op.w + n0 * s.row_bytes, s.op.scale + n0 * s.groups, totals, wide);
    for (size_t d = 0; d < m; d += s.digits) {
      scale(s, (d0 + d) / s.digits, n0, count, totals + d * wide, wide);
    }
  });
}

size_t scratch_bytes(size_t m, size_t k, size_t digits) {
  const size_t row = blocks_of(k) * kBlockK + k / kGroupK * sizeof(int32_t);
  return slab_of(m, digits) * (digits * row + sizeof(double));
}

void matmul(const Kernels& kernels, const TernaryGroupMatMul& op, size_t digits, void* scratch,
            const Pool& pool) {
  if (op.n == 0) return;
  const size_t slab = slab_of(op.m, digits), blocks = blocks_of(op.k), groups = op.k / kGroupK;
  int8_t* q = static_cast<int8_t*>(scratch);
  double* act_scale = reinterpret_cast<double*>(q + slab * digits * blocks * kBlockK);
  int32_t* q_sums = reinterpret_cast<int32_t*>(act_scale + slab);
  for (size_t first = 0; first < op.m; first += slab) {
    const Slab s = {.kernels = kernels,
                    .op = op,
                    .digits = digits,
                    .first = first,
                    .m = smaller(slab, op.m - first),
                    .groups = groups,
                    .row_bytes = blocks * kBlockBytes,
                    .padded = blocks * kBlockK,
                    .act_scale = act_scale,
                    .q = q,
                    .q_sums = q_sums};
    quantize(s, pool);
    multiply(s, pool);
  }
}

}  // namespace

size_t ternary_group_matmul_scratch(size_t m, size_t k) { return scratch_bytes(m, k, 1); }

void ternary_group_matmul(const Kernels& kernels, const TernaryGroupMatMul& op, void* scratch,
                          const Pool& pool) {
  matmul(kernels, op, 1, scratch, pool);
}

size_t ternary_float_matmul_scratch(size_t m, size_t k) { return scratch_bytes(m, k, kDigits); }

void ternary_float_matmul(const Kernels& kernels, const TernaryGroupMatMul& op, void* scratch,
                          const Pool& pool) {
  matmul(kernels, op, kDigits, scratch, pool);
}

}  // namespace bitnet
