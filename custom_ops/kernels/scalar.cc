// The specification of the kernels, on any CPU.
#include <string.h>

#include "kernels/kernel.h"

namespace bitnet {

static inline float bf16(const uint8_t* p) {
  uint16_t half;
  memcpy(&half, p, sizeof half);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void ternary_gemv_scalar(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,
                         const uint8_t* w, int32_t* sums) {
  for (size_t n = 0; n < rows; n++, w += blocks * kBlockBytes) {
    int32_t sum = -q_sum;
    for (size_t block = 0; block < blocks; block++) {
      const uint8_t* bytes = w + block * kBlockBytes;
      for (int field = 0; field < 4; field++) {
        const int8_t* x = q + block * kBlockK + field * 64;
        for (int b = 0; b < 64; b++) {
          const int16_t code = (bytes[b] >> (2 * field)) & 3;
          sum += static_cast<int16_t>(x[b]) * code;
        }
      }
    }
    sums[n] = sum;
  }
}

void ternary_gemm_scalar(size_t m, size_t n, size_t blocks, const int8_t* q, const int32_t* q_sums,
                         const uint8_t* w, int32_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++) {
    ternary_gemv_scalar(n, blocks, q + i * blocks * kBlockK, q_sums[i], w, sums + i * stride);
  }
}

void ternary_select_scalar(size_t count, size_t, size_t blocks, const int8_t* q, int32_t q_sum,
                           const uint8_t* w, const int32_t* index, int32_t* sums) {
  for (size_t i = 0; i < count; i++) {
    const size_t row = static_cast<size_t>(index[i]);
    ternary_gemv_scalar(1, blocks, q, q_sum, w + row * blocks * kBlockBytes, sums + i);
  }
}

// sums[n] += q * (code n of one block)
static inline void add_column(int8_t q, const uint8_t* bytes, int32_t* sums) {
  for (int field = 0; field < 4; field++) {
    for (int c = 0; c < 64; c++) {
      sums[64 * field + c] += static_cast<int16_t>(q) * ((bytes[c] >> (2 * field)) & 3);
    }
  }
}

void ternary_columns_scalar(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                            const uint8_t* w, int32_t* sums) {
  int32_t q_sum = 0;
  for (size_t i = 0; i < count; i++) q_sum += q[i];
  for (size_t n = 0; n < blocks * kBlockK; n++) sums[n] = -q_sum;
  for (size_t i = 0; i < count; i++) {
    const uint8_t* row = w + static_cast<size_t>(index[i]) * blocks * kBlockBytes;
    for (size_t b = 0; b < blocks; b++) {
      add_column(q[i], row + b * kBlockBytes, sums + b * kBlockK);
    }
  }
}

void ternary_columns_gemm_scalar(size_t m, size_t count, const int8_t* q, size_t q_stride,
                                 const int32_t* q_sums, const uint8_t* w, size_t row_bytes,
                                 int32_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++) {
    for (size_t n = 0; n < kBlockK; n++) sums[i * stride + n] = -q_sums[i];
    for (size_t k = 0; k < count; k++) {
      add_column(q[i * q_stride + k], w + k * row_bytes, sums + i * stride);
    }
  }
}

static double group_total(size_t groups, const int8_t* q, const int32_t* q_sums, const uint8_t* w,
                          const char* scale) {
  double total = 0;
  for (size_t g = 0; g < groups; g++) {
    const uint8_t* bytes = w + g / 2 * kBlockBytes;
    int32_t sum = -q_sums[g];
    for (size_t k = 0; k < kGroupK; k++) {
      const int16_t code = (bytes[k % 64] >> (g % 2 * 4 + k / 64 * 2)) & 3;
      sum += static_cast<int16_t>(q[g * kGroupK + k]) * code;
    }
    float factor;
    memcpy(&factor, scale + 4 * g, 4);
    total += static_cast<double>(sum) * static_cast<double>(factor);
  }
  return total;
}

void ternary_group_scalar(size_t m, size_t n, size_t groups, const int8_t* q, const int32_t* q_sums,
                          const uint8_t* w, const float* scale, double* totals, size_t stride) {
  const size_t blocks = (groups + 1) / 2;
  const char* scales = reinterpret_cast<const char*>(scale);
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) {
      totals[i * stride + j] = group_total(groups, q + i * blocks * kBlockK, q_sums + i * groups,
                                           w + j * blocks * kBlockBytes, scales + 4 * j * groups);
    }
  }
}

void bf16_gemv_scalar(size_t rows, size_t k, const double* x, const uint8_t* w, float* y) {
  for (size_t n = 0; n < rows; n++, w += 2 * k) {
    double even[8] = {0}, odd[8] = {0};  // lanes 0, 2, ... and 1, 3, ...
    size_t base = 0;
    for (; base + 16 <= k; base += 16) {
      for (size_t i = 0; i < 8; i++) {
        even[i] += x[base + i] * static_cast<double>(bf16(w + 2 * (base + 2 * i)));
        odd[i] += x[base + 8 + i] * static_cast<double>(bf16(w + 2 * (base + 2 * i + 1)));
      }
    }
    for (size_t i = base; i < k; i++) {
      const size_t half = (i - base) / 2;
      double* lane = (i & 1 ? odd : even) + half;
      *lane += x[base + (i & 1 ? 8 : 0) + half] * static_cast<double>(bf16(w + 2 * i));
    }
    for (size_t half = 4; half > 0; half /= 2) {  // lanes +8, +4, +2
      for (size_t i = 0; i < half; i++) {
        even[i] += even[i + half];
        odd[i] += odd[i + half];
      }
    }
    y[n] = static_cast<float>(even[0] + odd[0]);
  }
}

void int8_gemv_scalar(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
  // One product is at most 32512 * 128, so 512 of them stay inside int32.
  static_assert(512ll * 32512 * 128 <= INT32_MAX, "int32 partial sums");
  for (size_t n = 0; n < rows; n++, w += k) {
    int64_t sum = 0;
    for (size_t base = 0; base < k; base += 512) {
      const size_t end = k - base < 512 ? k : base + 512;
      int32_t part = 0;
      for (size_t i = base; i < end; i++)
        part += q[i] * static_cast<int16_t>(static_cast<int8_t>(w[i]));
      sum += part;
    }
    sums[n] = sum;
  }
}

static inline float widen(float x) { return x; }

static inline float widen(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, size = half & 0x7fff;
  uint32_t bits;
  if (size > 0x7c00) {
    bits = 0x7fc00000 | size << 13;
  } else if (size == 0x7c00) {
    bits = 0x7f800000;
  } else if (size >= 0x400) {
    bits = (size << 13) + (112u << 23);
  } else {  // size * 2^-24, exact in float32
    const float value = static_cast<float>(size) * 0x1p-24f;
    memcpy(&bits, &value, sizeof bits);
  }
  bits |= sign;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename Cache>
static void score(size_t rows, size_t positions, size_t d, const double* q, const Cache* k,
                  float root, float* scores, size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  for (size_t t = 0; t < positions; t++, k += d) {
    for (size_t r = 0; r < rows; r++) {
      double lanes[8] = {0};
      for (size_t i = 0; i < d; i++) {
        lanes[i % 8] += q[r * padded + i] * static_cast<double>(widen(k[i]));
      }
      for (size_t half = 4; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
      }
      scores[r * stride + t] = static_cast<float>(lanes[0]) / root;
    }
  }
}

void attend_scores_scalar(size_t rows, size_t positions, size_t d, const double* q, const float* k,
                          float root, float* scores, size_t stride) {
  score(rows, positions, d, q, k, root, scores, stride);
}

void attend_scores_f16_scalar(size_t rows, size_t positions, size_t d, const double* q,
                              const uint16_t* k, float root, float* scores, size_t stride) {
  score(rows, positions, d, q, k, root, scores, stride);
}

static inline float exponential(float x) {
  x = kExpLeast > x ? kExpLeast : x;
  const float shifted = x * kLog2E + kRoundMagic, n = shifted - kRoundMagic;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float sum = kExpTerms[0];
  for (int i = 1; i < 8; i++) sum = sum * r + kExpTerms[i];
  bits = (bits - kRoundMagicBits + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return sum * power;
}

double attend_softmax_scalar(size_t positions, const float* scores, double* weights) {
  float most = scores[0];
  for (size_t t = 1; t < positions; t++) most = most > scores[t] ? most : scores[t];
  double lanes[16] = {0};
  for (size_t t = 0; t < positions; t++) {
    weights[t] = static_cast<double>(exponential(scores[t] - most));
    lanes[t % 16] += weights[t];
  }
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

template <typename Cache>
static void blend(size_t rows, size_t positions, size_t width, size_t d, const double* weights,
                  size_t stride, const Cache* v, double* sums, size_t s_stride) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t t = 0; t < positions; t++) {
      for (size_t i = 0; i < width; i++) {
        sums[r * s_stride + i] +=
            weights[r * stride + t] * static_cast<double>(widen(v[t * d + i]));
      }
    }
  }
}

void attend_values_scalar(size_t rows, size_t positions, size_t width, size_t d,
                          const double* weights, size_t stride, const float* v, double* sums,
                          size_t s_stride) {
  blend(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

void attend_values_f16_scalar(size_t rows, size_t positions, size_t width, size_t d,
                              const double* weights, size_t stride, const uint16_t* v, double* sums,
                              size_t s_stride) {
  blend(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

void attend_scores_int8_scalar(size_t rows, size_t positions, size_t d, const int16_t* q,
                               const int8_t* k, const float* k_scale, const float* factor,
                               const int8_t*, float* scores, size_t stride) {
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  for (size_t t = 0; t < positions; t++, k += d) {
    for (size_t r = 0; r < rows; r++) {
      int32_t sum = 0;
      for (size_t i = 0; i < d; i++) sum += q[r * padded + i] * static_cast<int16_t>(k[i]);
      scores[r * stride + t] = static_cast<float>(sum) * k_scale[t] * factor[r];
    }
  }
}

static inline int16_t rounded(float x) {
  const float shifted = x + kRoundMagic;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  return static_cast<int16_t>(bits - kRoundMagicBits);
}

void attend_weights_int8_scalar(size_t rows, size_t positions, const double* weights, size_t stride,
                                const float* v_scale, int16_t* p, double* scale) {
  for (size_t r = 0; r < rows; r++, p += kAttendSpan, weights += stride) {
    float x[kAttendSpan], most = kLeastPeak, poison = 0;  // 0, or NaN where an x is not finite
    for (size_t t = 0; t < positions; t++) {
      x[t] = static_cast<float>(weights[t]) * v_scale[t];
      const float size = x[t] < 0 ? -x[t] : x[t];
      most = most > size ? most : size;
      poison += x[t] * 0;
    }
    const float s = kPeakInt16 / most;
    const size_t count = poison == 0 ? positions : 0;
    for (size_t t = 0; t < kAttendSpan; t++) p[t] = t < count ? rounded(x[t] * s) : int16_t{0};
    scale[r] = static_cast<double>(1.0f / s + poison);
  }
}

void attend_values_int8_scalar(size_t rows, size_t positions, size_t d, const int16_t* p,
                               const int8_t* v, const double* scale, double* sums,
                               size_t s_stride) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t i = 0; i < d; i++) {
      int32_t sum = 0;
      for (size_t t = 0; t < positions; t++) {
        sum += p[r * kAttendSpan + t] * static_cast<int16_t>(v[t * d + i]);
      }
      sums[r * s_stride + i] += static_cast<double>(sum) * scale[r];
    }
  }
}

uint64_t read_scalar(const uint8_t* data, size_t bytes) {
  uint64_t lanes[8] = {0};
  size_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    for (int lane = 0; lane < 8; lane++) {
      uint64_t word;
      memcpy(&word, data + i + 8 * lane, 8);
      lanes[lane] ^= word;
    }
  }
  for (; i + 8 <= bytes; i += 8) {
    uint64_t word;
    memcpy(&word, data + i, 8);
    lanes[0] ^= word;
  }
  for (int lane = 1; lane < 8; lane++) lanes[0] ^= lanes[lane];
  return lanes[0];
}

}  // namespace bitnet
