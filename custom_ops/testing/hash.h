// A hash of results, for hash.cc.
#pragma once

#include "testing/check.h"

// FNV-1a
struct Hash {
  uint64_t value = 0xcbf29ce484222325;
  void add(const void* data, size_t bytes) {
    const uint8_t* p = static_cast<const uint8_t*>(data);
    for (size_t i = 0; i < bytes; i++) value = (value ^ p[i]) * 0x100000001b3;
  }
  // CPUs differ in the sign and payload of a NaN that an operation makes.
  void add(Guarded<float>* x) {
    for (size_t i = 0; i < x->size(); i++) {
      if (isnan((*x)[i])) {
        add("NaN", 4);
      } else {
        add(&(*x)[i], 4);
      }
    }
  }
};

void hash_attention(const bitnet::Kernels& kernels, Hash* hash);
void hash_attention_int8(const bitnet::Kernels& kernels, Hash* hash);
void hash_attention_int4(const bitnet::Kernels& kernels, Hash* hash);
void hash_ternary_experts(const bitnet::Kernels& kernels, Hash* hash);
void hash_bf16_experts(const bitnet::Kernels& kernels, Hash* hash);
void hash_int8_experts(const bitnet::Kernels& kernels, Hash* hash);
