#include "quantize.h"

#include <float.h>
#include <string.h>

#include "sizes.h"

namespace bitnet {
namespace {

// Adding 1.5 * 2^23 leaves the integer nearest (ties to even) in the low bits of a float.
constexpr float kMagic = 12582912.0f;
constexpr int32_t kMagicBits = 0x4b400000;
constexpr int32_t kInfinityBits = 0x7f800000;
constexpr int32_t kNanBits = 0x7fc00000;

inline float as_float(int32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

inline int32_t as_int(float value) {
  int32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

// Positive floats order as their bits do, and NaN and infinity come above all others.
inline int32_t absmax_bits(const float* x, size_t count) {
  int32_t most = 0;
  for (size_t i = 0; i < count; i++) {
    const int32_t bits = as_int(load_float(x, i)) & 0x7fffffff;
    most = bits > most ? bits : most;
  }
  return most;
}

inline float scale_of(int32_t most, float limit) {
  const float absmax = as_float(most);
  return limit / (absmax > 1e-5f ? absmax : 1e-5f);
}

// No clamp: |x| <= absmax, so |x * limit / absmax| <= limit * (1 + 2^-23) in float32, which rounds
// to at most `limit`. Only for finite x.
inline int32_t rounded(float value) { return as_int(value + kMagic) - kMagicBits; }

}  // namespace

float quantize_int8(const float* x, size_t count, size_t padded, int8_t* q, int32_t* sum) {
  const int32_t most = absmax_bits(x, count);
  *sum = 0;
  if (most >= kInfinityBits) {
    memset(q, 0, padded);
    return as_float(kNanBits);
  }
  const float scale = scale_of(most, 127.0f);
  int32_t total = 0;
  for (size_t i = 0; i < count; i++) {
    const int32_t value = rounded(load_float(x, i) * scale);
    q[i] = static_cast<int8_t>(value);
    total += value;
  }
  memset(q + count, 0, padded - count);
  *sum = total;
  return scale;
}

float quantize_int16(const float* x, size_t count, size_t padded, int16_t* q) {
  const int32_t most = absmax_bits(x, count);
  if (most >= kInfinityBits) {
    memset(q, 0, 2 * padded);
    return as_float(kNanBits);
  }
  const float scale = scale_of(most, 32512.0f);
  for (size_t i = 0; i < count; i++) q[i] = static_cast<int16_t>(rounded(load_float(x, i) * scale));
  memset(q + count, 0, 2 * (padded - count));
  return scale;
}

double quantize_digits(const float* x, size_t count, size_t padded, int8_t* q) {
  const int32_t most = absmax_bits(x, count);
  memset(q, 0, 4 * padded);
  if (most >= kInfinityBits) return as_float(kNanBits);
  const double absmax = as_float(most);
  const double scale = 1073741824.0 / (absmax > FLT_MIN ? absmax : FLT_MIN);
  for (size_t i = 0; i < count; i++) {
    // Adding 1.5 * 2^52 leaves the integer nearest (ties to even) in the low bits of a double.
    const double shifted = static_cast<double>(load_float(x, i)) * scale + 6755399441055744.0;
    int32_t value;  // |value| <= 2^30: four digits of -128 to 127 reach 127 * 0x01010101
    uint64_t bits;
    memcpy(&bits, &shifted, 8);
    value = static_cast<int32_t>(static_cast<uint32_t>(bits));
    for (size_t digit = 0; digit < 4; digit++) {
      const int8_t low = static_cast<int8_t>(value);
      q[digit * padded + i] = low;
      value = (value - low) / 256;
    }
  }
  return scale;
}

void widen_bf16(const float* x, size_t count, size_t padded, double* out) {
  for (size_t base = 0; base < padded; base += 16) {
    for (size_t i = 0; i < 16; i++) {
      const size_t k = base + (i < 8 ? 2 * i : 2 * (i - 8) + 1);
      out[base + i] = k < count ? static_cast<double>(load_float(x, k)) : 0.0;
    }
  }
}

}  // namespace bitnet
