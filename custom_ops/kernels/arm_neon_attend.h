// Shared by the NEON files of attention alone.
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/attend.h"

namespace bitnet {

static inline void load_8(const float* p, float32x4_t v[2]) {
  v[0] = vld1q_f32(p);
  v[1] = vld1q_f32(p + 4);
}

static inline void load_8(const uint16_t* p, float32x4_t v[2]) {
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
  v[0] = vcvt_f32_f16(vget_low_f16(halves));
  v[1] = vcvt_high_f32_f16(halves);
}

// 8 elements, zeros from `count` on.
template <typename Cache>
static inline void load_8(const Cache* p, size_t count, float64x2_t v[4]) {
  Cache rest[8] = {0};
  if (count < 8) {
    memcpy(rest, p, count * sizeof(Cache));
    p = rest;
  }
  float32x4_t x[2];
  load_8(p, x);
  v[0] = vcvt_f64_f32(vget_low_f32(x[0]));
  v[1] = vcvt_high_f64_f32(x[0]);
  v[2] = vcvt_f64_f32(vget_low_f32(x[1]));
  v[3] = vcvt_high_f64_f32(x[1]);
}

// 16 elements as 16 bits, zeros from `count` on.
static inline void load_16(const int8_t* p, size_t count, int16x8_t x[2]) {
  int8_t rest[16] = {0};
  if (count < 16) p = static_cast<const int8_t*>(memcpy(rest, p, count));
  const int8x16_t bytes = vld1q_s8(p);
  x[0] = vmovl_s8(vget_low_s8(bytes));
  x[1] = vmovl_high_s8(bytes);
}

}  // namespace bitnet
