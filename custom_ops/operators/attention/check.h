// Shared by the tests of attention with any type of cache.
#pragma once

#include "operators/attention/attention.h"
#include "testing/check.h"

// Element i of a head x, rotated by its position.
inline float rotated(const bitnet::Attention& op, const float* x, size_t position, size_t i) {
  const size_t half = op.d / 2;
  const float *c = op.cos + position * half, *s = op.sin + position * half;
  return i < half ? x[i] * c[i] - x[half + i] * s[i]
                  : x[i] * c[i - half] + x[i - half] * s[i - half];
}

// Of a row of query, key and value side by side.
inline size_t joined_width(const bitnet::Attention& op) {
  return op.query_stride + 2 * op.kv_stride;
}

// Copies the separate query, key and value into qkv [batch * count, joined width], which `op` then
// reads.
inline void join(bitnet::Attention* op, float* qkv) {
  const size_t q_width = op->query_stride, kv_width = op->kv_stride, width = joined_width(*op);
  for (size_t row = 0; row < op->batch * op->count; row++) {
    float* to = qkv + row * width;
    memcpy(to, op->query + row * q_width, q_width * sizeof *to);
    memcpy(to + q_width, op->key + row * kv_width, kv_width * sizeof *to);
    memcpy(to + q_width + kv_width, op->value + row * kv_width, kv_width * sizeof *to);
  }
  op->query = qkv;
  op->key = qkv + q_width;
  op->value = op->key + kv_width;
  op->query_stride = op->kv_stride = width;
}
