// Activation rows in int8, and the rectangles into which a product of many of them is split.
#pragma once

#include <atomic>

#include "kernels/kernels.h"
#include "operators/ternary.h"
#include "platform/compiler.h"
#include "platform/pool.h"
#include "platform/sizes.h"

namespace bitnet {

constexpr size_t kSlab = 512;           // activation rows quantized at a time: bounds the scratch
constexpr size_t kTall = kSlab;         // activation rows of one rectangle
constexpr size_t kSums = 16384;         // int32 sums that a rectangle keeps on its stack
constexpr size_t kWidest = 1024;        // weight rows of one rectangle at most
constexpr size_t kTaskWork = 2u << 20;  // multiply-adds that are worth a task, some 20 us
constexpr size_t kQuantizeWork = 4096;  // activations that are worth a task, some 3 us
constexpr size_t kQuantizeTasks = 64;   // more rows make tasks larger, not more
constexpr size_t kAhead = 8;            // rows of results that are prefetched ahead
constexpr size_t kFewWide = 768;        // weight rows that are worth a task of few activation rows
constexpr size_t kInPlaceTall = 128;    // activation rows of a rectangle whose sums are in place
constexpr size_t kTasks = 8;            // that keep some threads busy
static_assert(kTall * kTileN <= kSums, "a rectangle of one tile fits");

struct Int8Rows {
  size_t m, blocks;
  float* act_scales;  // [m]; NaN where the row is not finite
  int32_t* q_sums;    // [m]
  int8_t* q;          // [m, 256 * blocks]
};

// Bytes of scratch, aligned to 64, for at most kSlab of m rows of k activations.
inline size_t int8_rows_scratch(size_t m, size_t k) {
  return smaller(m, kSlab) * (blocks_of(k) * kBlockK + sizeof(float) + sizeof(int32_t));
}

// Of m rows of k activations.
inline size_t rows_of_task(size_t m, size_t k) {
  return larger(kQuantizeWork / k + 1, parts(m, kQuantizeTasks));
}

// What rows are replaced by before they are quantized: their RMSNorm. No weight: nothing.
struct RowNorm {
  const uint8_t* weight = nullptr;
  float epsilon = 0;
  float* rows = nullptr;  // room for a row of each task, which the first cache holds
};

inline size_t row_norm_scratch(size_t m, size_t k) {
  const size_t rows = smaller(m, kSlab);
  return padded(parts(rows, rows_of_task(rows, k)) * k * sizeof(float), 64);
}

// Quantizes m <= kSlab rows of x [m, k].
inline NOINLINE Int8Rows int8_rows(const Kernels& kernels, const float* x, size_t m, size_t k,
                                   void* scratch, const Pool& pool, const RowNorm& norm = {}) {
  const size_t blocks = blocks_of(k), width = blocks * kBlockK, each = rows_of_task(m, k);
  int8_t* q = static_cast<int8_t*>(scratch);
  float* act_scales = reinterpret_cast<float*>(q + m * width);
  const Int8Rows rows = {m, blocks, act_scales, reinterpret_cast<int32_t*>(act_scales + m), q};
  parallel(pool, parts(m, each), [&](size_t task) {
    for (size_t i = task * each; i < smaller(m, (task + 1) * each); i++) {
      const float* row = x + i * k;
      if (norm.weight) {
        float* y = norm.rows + task * k;
        kernels.rms_norm(k, row, nullptr, nullptr, norm.weight, norm.epsilon, y);
        row = y;
      }
      rows.act_scales[i] =
          kernels.quantize_int8(row, k, width, rows.q + i * width, rows.q_sums + i);
    }
  });
  return rows;
}

// Asks for what is written soon: rows of a rectangle lie far from each other.
inline void prefetch_row(const float* y, size_t count) {
  for (size_t i = 0; i < count; i += 16) PREFETCH(y + i);
}

constexpr size_t kWorkers = 16;  // tasks at a time that have room for their sums

// Calls body(worker, i) for all i < count; no two at a time with the same worker < kWorkers. A body
// is long: who is free takes one.
template <typename Body>
void each_of(size_t count, const Pool& pool, const Body& body) {
  std::atomic<size_t> next(0);
  parallel(pool, smaller(count, kWorkers), [&](size_t worker) {
    for (size_t i = next++; i < count; i = next++) body(worker, i);
  });
}

// Whether the kernel wants more weight rows in a rectangle than a stack has sums for. Its sums are
// then where the results go.
inline bool in_place(const Kernels& kernels) { return kernels.gemm_rows > kTileN; }

// Weight rows of a rectangle in place, for m activation rows.
inline NOINLINE size_t in_place_rows(const Kernels& kernels, size_t m, size_t k, size_t n) {
  const size_t down = parts(m, kInPlaceTall);
  const size_t worth =
      smaller(m * n * k / kTaskWork + 1, m > kFewActivations ? n : n / kFewWide + 1);
  const size_t across = larger(parts(n, kernels.gemm_rows), parts(smaller(worth, kTasks), down));
  return padded(parts(n, across), 2 * kTileN);
}

// Calls body(i0, m, n0, count) for each rectangle in place of m activation rows by n weight rows.
template <typename Body>
void each_in_place(const Kernels& kernels, const Int8Rows& rows, size_t n, const Pool& pool,
                   const Body& body) {
  const size_t wide = in_place_rows(kernels, rows.m, rows.blocks * kBlockK, n);
  const size_t across = parts(n, wide);
  parallel(pool, across * parts(rows.m, kInPlaceTall), [&](size_t task) {
    const size_t n0 = task % across * wide, i0 = task / across * kInPlaceTall;
    body(i0, smaller(kInPlaceTall, rows.m - i0), n0, smaller(wide, n - n0));
  });
}

// Calls body(i0, m, n0, count) for each rectangle of m activation rows, from i0 on, by `count` of n
// weight rows, from n0 on: at most kSums sums, and at most kWidest rows.
template <typename Body>
void each_rectangle(const Int8Rows& rows, size_t n, const Pool& pool, const Body& body) {
  const size_t tall = smaller(rows.m, kTall);
  const size_t fits = smaller(kSums / tall / kTileN * kTileN, kWidest);
  const size_t worth = kTaskWork / (tall * rows.blocks * kBlockK) / kTileN * kTileN;
  const size_t wide = worth < kTileN ? kTileN : smaller(worth, fits), across = parts(n, wide);
  parallel(pool, across * parts(rows.m, tall), [&](size_t task) {
    const size_t n0 = task % across * wide, i0 = task / across * tall;
    body(i0, smaller(tall, rows.m - i0), n0, smaller(wide, n - n0));
  });
}

}  // namespace bitnet
