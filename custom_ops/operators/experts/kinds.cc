#include "operators/experts/experts.h"
#include "operators/ternary.h"
#include "operators/wide_sums.h"

namespace bitnet {
namespace {

template <typename T>
const T* row_of(const ExpertRows& rows, size_t i) {
  return reinterpret_cast<const T*>(rows.q + i * rows.stride);
}

size_t ternary_bytes(size_t k) { return blocks_of(k) * kBlockBytes; }

void prepare_ternary(const Kernels& kernels, const float* x, size_t padded, size_t row,
                     const ExpertRows& rows) {
  int8_t* q = reinterpret_cast<int8_t*>(rows.q + row * rows.stride);
  rows.scales[row] = kernels.quantize_int8(x, rows.k, padded, q, rows.sums + row);
}

void multiply_ternary(const Kernels& kernels, size_t m, size_t count, const ExpertRows& rows,
                      const uint8_t* w, const uint8_t* scales, float* y, size_t stride) {
  int32_t own[kExpertSums], *sums = own;
  const size_t blocks = blocks_of(rows.k);
  const bool fits = m * count <= kExpertSums;  // else the sums are where the results go
  if (!fits) sums = reinterpret_cast<int32_t*>(y);
  const size_t step = fits ? count : stride;
  const int8_t* q = row_of<int8_t>(rows, 0);
  if (m <= kFewActivations) {
    kernels.ternary_few(m, count, blocks, q, rows.sums, w, nullptr, sums, step);
  } else {
    kernels.ternary_gemm(m, count, blocks, q, rows.sums, w, sums, step);
  }
  for (size_t i = 0; i < m; i++) {
    kernels.scale_sums(count, sums + i * step, load_float(scales, 0) / rows.scales[i],
                       y + i * stride);
  }
}

size_t bf16_bytes(size_t k) { return 2 * k; }

void prepare_bf16(const Kernels& kernels, const float* x, size_t padded, size_t row,
                  const ExpertRows& rows) {
  double* wide = reinterpret_cast<double*>(rows.q + row * rows.stride);
  kernels.widen_bf16(x, rows.k, padded, wide);
}

void multiply_bf16(const Kernels& kernels, size_t m, size_t count, const ExpertRows& rows,
                   const uint8_t* w, const uint8_t*, float* y, size_t stride) {
  kernels.bf16_gemv(m, count, rows.k, row_of<double>(rows, 0), rows.stride / sizeof(double), w,
                    nullptr, y, stride);
}

size_t int8_bytes(size_t k) { return k; }

void prepare_int8(const Kernels& kernels, const float* x, size_t padded, size_t row,
                  const ExpertRows& rows) {
  int16_t* q = reinterpret_cast<int16_t*>(rows.q + row * rows.stride);
  rows.scales[row] = 1.0f / kernels.quantize_int16(x, rows.k, padded, q);
}

void multiply_int8(const Kernels& kernels, size_t m, size_t count, const ExpertRows& rows,
                   const uint8_t* w, const uint8_t* scales, float* y, size_t stride) {
  int64_t sums[kExpertSums];
  for (size_t i = 0; i < m; i += kInt8Rows) {
    const size_t here = smaller(kInt8Rows, m - i);
    kernels.int8_gemv(here, count, rows.k, row_of<int16_t>(rows, i), rows.stride / sizeof(int16_t),
                      w, sums, count);
    scale_wide_sums(here, count, sums, reinterpret_cast<const float*>(scales), rows.scales + i,
                    y + i * stride, stride);
  }
}

}  // namespace

const ExpertKind kTernaryExpert = {.pad = kBlockK,
                                   .item = sizeof(int8_t),
                                   .row_scales = false,
                                   .row_bytes = ternary_bytes,
                                   .prepare = prepare_ternary,
                                   .multiply = multiply_ternary};
const ExpertKind kBf16Expert = {.pad = kPadBf16,
                                .item = sizeof(double),
                                .row_scales = false,
                                .row_bytes = bf16_bytes,
                                .prepare = prepare_bf16,
                                .multiply = multiply_bf16};
const ExpertKind kInt8Expert = {.pad = kPadInt8,
                                .item = sizeof(int16_t),
                                .row_scales = true,
                                .row_bytes = int8_bytes,
                                .prepare = prepare_int8,
                                .multiply = multiply_int8};

}  // namespace bitnet
