#include <string.h>

#include "kernels/arm_neon_dotprod.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

static inline float load_float(const char* p) {
  float value;
  memcpy(&value, p, 4);
  return value;
}

static inline float64x2_t load_pair(const char* p) {
  uint64_t two_floats;
  memcpy(&two_floats, p, 8);
  return vcvt_f64_f32(vcreate_f32(two_floats));
}

// Sums of code * q over one block of four weight rows, for each of its two groups.
template <int M>
static inline void block_sums(const uint8_t* const w[4], size_t block, const int8_t* q,
                              size_t q_stride, int32x4_t sums[M][2]) {
  const uint8x16_t mask = vdupq_n_u8(3);
  const int8x16_t right = vdupq_n_s8(-4);
  UNROLL for (int half = 0; half < 2; half++) {
    int32x4_t acc[M][4];
    UNROLL for (int i = 0; i < 4 * M; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);
    ROLLED for (size_t part = 0; part < 4; part++) {
      if (half == 0) prefetch(w[part] + block * kBlockBytes + kAhead);  // a row's line in each turn
      UNROLL for (int r = 0; r < 4; r++) {
        uint8x16_t packed = vld1q_u8(w[r] + block * kBlockBytes + 16 * part);
        if (half) packed = vshlq_u8(packed, right);
        const uint8x16_t low = vandq_u8(packed, mask);
        const uint8x16_t high = vandq_u8(vshrq_n_u8(packed, 2), mask);
        UNROLL for (int m = 0; m < M; m++) {
          const int8_t* x = q + m * q_stride + half * kGroupK + 16 * part;
          acc[m][r] = dot(acc[m][r], low, vld1q_s8(x));
          acc[m][r] = dot(acc[m][r], high, vld1q_s8(x + 64));
        }
      }
    }
    UNROLL for (int m = 0; m < M; m++) {
      sums[m][half] = add_lanes(acc[m][0], acc[m][1], acc[m][2], acc[m][3]);
    }
  }
}

static inline void add_scaled(float64x2_t total[2], int32x4_t sums, int32_t q_sum,
                              const float64x2_t scale[2]) {
  const int32x4_t exact = vsubq_s32(sums, vdupq_n_s32(q_sum));
  total[0] = vfmaq_f64(total[0], vcvtq_f64_s64(vmovl_s32(vget_low_s32(exact))), scale[0]);
  total[1] = vfmaq_f64(total[1], vcvtq_f64_s64(vmovl_high_s32(exact)), scale[1]);
}

// Up to four activation rows: the weights are read once, four rows at a time.
template <int M>
static void few(size_t n, size_t groups, const int8_t* q, const int32_t* q_sums, const uint8_t* w,
                const float* scale, double* totals, size_t stride) {
  const size_t blocks = (groups + 1) / 2;
  const size_t row_bytes = blocks * kBlockBytes, q_stride = blocks * kBlockK;
  const char* scales = reinterpret_cast<const char*>(scale);
  for (size_t n0 = 0; n0 < n; n0 += 4) {
    const uint8_t* row[4];  // rows past the last one repeat it
    const char* factor[4];
    UNROLL for (size_t r = 0; r < 4; r++) {
      const size_t at = n0 + r < n ? n0 + r : n - 1;
      row[r] = w + at * row_bytes;
      factor[r] = scales + 4 * at * groups;
    }
    float64x2_t total[M][2];
    UNROLL for (int m = 0; m < M; m++) total[m][0] = total[m][1] = vdupq_n_f64(0);
    int32x4_t sums[M][2];
    size_t g = 0;
    for (; g + 2 <= groups; g += 2) {
      block_sums<M>(row, g / 2, q + g * kGroupK, q_stride, sums);
      float64x2_t pair[4];  // of each row, the scales of both groups
      UNROLL for (int r = 0; r < 4; r++) pair[r] = load_pair(factor[r] + 4 * g);
      const float64x2_t even[2] = {vzip1q_f64(pair[0], pair[1]), vzip1q_f64(pair[2], pair[3])};
      const float64x2_t odd[2] = {vzip2q_f64(pair[0], pair[1]), vzip2q_f64(pair[2], pair[3])};
      UNROLL for (int m = 0; m < M; m++) {
        add_scaled(total[m], sums[m][0], q_sums[m * groups + g], even);
        add_scaled(total[m], sums[m][1], q_sums[m * groups + g + 1], odd);
      }
    }
    if (g < groups) {
      block_sums<M>(row, g / 2, q + g * kGroupK, q_stride, sums);
      float four[4];
      UNROLL for (int r = 0; r < 4; r++) four[r] = load_float(factor[r] + 4 * g);
      const float32x4_t floats = vld1q_f32(four);
      const float64x2_t last[2] = {vcvt_f64_f32(vget_low_f32(floats)), vcvt_high_f64_f32(floats)};
      UNROLL for (int m = 0; m < M; m++) {
        add_scaled(total[m], sums[m][0], q_sums[m * groups + g], last);
      }
    }
    UNROLL for (int m = 0; m < M; m++) {
      double four[4];
      vst1q_f64(four, total[m][0]);
      vst1q_f64(four + 2, total[m][1]);
      for (size_t r = 0; r < 4 && n0 + r < n; r++) totals[m * stride + n0 + r] = four[r];
    }
  }
}

using Few = void (*)(size_t, size_t, const int8_t*, const int32_t*, const uint8_t*, const float*,
                     double*, size_t);
static const Few kFew[] = {few<1>, few<2>, few<3>, few<4>};
static_assert(sizeof kFew / sizeof kFew[0] == kFewRows, "one for each");

// totals[0..rows) += scale * (sums - q_sum), from 0 for the first group
static inline void add_row(size_t rows, const int32_t* sums, int32_t q_sum, const float* scale,
                           bool first, double* totals) {
  const int32x2_t minus = vdup_n_s32(q_sum);
  size_t i = 0;
  for (; i + 2 <= rows; i += 2) {
    const float64x2_t exact = vcvtq_f64_s64(vmovl_s32(vsub_s32(vld1_s32(sums + i), minus)));
    const float64x2_t old = first ? vdupq_n_f64(0) : vld1q_f64(totals + i);
    vst1q_f64(totals + i, vfmaq_f64(old, exact, vcvt_f64_f32(vld1_f32(scale + i))));
  }
  for (; i < rows; i++) {
    const double term = static_cast<double>(sums[i] - q_sum) * static_cast<double>(scale[i]);
    totals[i] = (first ? 0.0 : totals[i]) + term;
  }
}

// More activation rows: the panels of the GEMM; each group goes from int32 to the float64 totals.
void ternary_group_neon_dotprod(size_t m, size_t n, size_t groups, const int8_t* q,
                                const int32_t* q_sums, const uint8_t* w, const float* scale,
                                double* totals, size_t stride) {
  if (m <= kFewRows) {
    if (m > 0) kFew[m - 1](n, groups, q, q_sums, w, scale, totals, stride);
    return;
  }
  alignas(16) uint8_t panel[kBlockK * kRows];
  float factors[kRows] = {0};
  const size_t blocks = (groups + 1) / 2;
  const size_t row_bytes = blocks * kBlockBytes, q_stride = blocks * kBlockK;
  const char* scales = reinterpret_cast<const char*>(scale);
  for (size_t n0 = 0; n0 < n; n0 += kRows) {
    const size_t rows = n - n0 < kRows ? n - n0 : kRows;
    for (size_t g = 0; g < groups; g++) {
      if (g % 2 == 0) {
        unpack_block(w + n0 * row_bytes + g / 2 * kBlockBytes, row_bytes, rows, panel);
      }
      for (size_t r = 0; r < rows; r++) {
        factors[r] = load_float(scales + 4 * ((n0 + r) * groups + g));
      }
      for (size_t m0 = 0; m0 < m; m0 += kTall) {
        const size_t tall = m - m0 < kTall ? m - m0 : kTall;
        int32_t sums[kTall * kRows] = {0};
        kTiles[tall - 1](kGroupK, panel + g % 2 * kGroupK * kRows, q + m0 * q_stride + g * kGroupK,
                         q_stride, sums, kRows);
        for (size_t i = 0; i < tall; i++) {
          add_row(rows, sums + i * kRows, q_sums[(m0 + i) * groups + g], factors, g == 0,
                  totals + (m0 + i) * stride + n0);
        }
      }
    }
  }
}

}  // namespace bitnet
