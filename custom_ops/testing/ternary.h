// Packed ternary weights for tests. The format is written here once more.
#pragma once

#include "testing/check.h"

inline size_t blocks_for(size_t k) { return (k + 255) / 256; }
inline size_t row_bytes_for(size_t k) { return blocks_for(k) * 64; }

// The code of weight k of a packed row.
inline int code(const uint8_t* row, size_t k) {
  return row[k / 256 * 64 + k % 64] >> (2 * (k / 64 % 4)) & 3;
}

// What computes what is expected, as plain as it is, is not what the sanitizers are there for.
#ifdef _MSC_VER
#define PLAIN inline
#else
#define PLAIN __attribute__((noinline, no_sanitize("address", "thread", "undefined"))) inline
#endif

// Weights 0 to k - 1 of a packed row: -1 for code 0, 2 for code 3. The tests take a row apart once
// for all activations: each code anew was most of their time.
PLAIN void take_apart(const uint8_t* row, size_t k, int8_t* to) {
  for (size_t l = 0; l < k; l++) {
    to[l] = static_cast<int8_t>((row[l / 256 * 64 + l % 64] >> (2 * (l / 64 % 4)) & 3) - 1);
  }
}
inline std::vector<int8_t> weights_of(const uint8_t* row, size_t k) {
  std::vector<int8_t> weights(k);
  take_apart(row, k, weights.data());
  return weights;
}

// The sum over l < k of q[l] * weights[l]
template <typename Activation>
PLAIN int32_t sum_of(const Activation* q, const int8_t* weights, size_t k) {
  int32_t sum = 0;
  for (size_t l = 0; l < k; l++) sum += q[l] * weights[l];
  return sum;
}
template <typename Activation>
int32_t product(const Activation* q, const std::vector<int8_t>& weights) {
  return sum_of(q, weights.data(), weights.size());
}

// sums[n] += q * weights[n]
PLAIN void add_products(int32_t q, const int8_t* weights, size_t count, int32_t* sums) {
  for (size_t n = 0; n < count; n++) sums[n] += q * weights[n];
}
inline void add_product(int32_t q, const std::vector<int8_t>& weights, int32_t* sums) {
  add_products(q, weights.data(), weights.size(), sums);
}

inline void fill_bytes(Guarded<uint8_t>* w, Random* random) {
  for (size_t i = 0; i < w->size(); i++) (*w)[i] = static_cast<uint8_t>(random->next());
}

// Code 3, which no file has, becomes 1.
inline void make_valid(Guarded<uint8_t>* w) {
  for (size_t i = 0; i < w->size(); i++) {
    const int threes = (*w)[i] & (*w)[i] >> 1 & 0x55;
    (*w)[i] = static_cast<uint8_t>((*w)[i] & ~(2 * threes));
  }
}

// Weights with any code, activations zero from k on.
struct Ternary {
  size_t m, n, k, blocks;
  Guarded<uint8_t> w;
  Guarded<int8_t> q;
  Guarded<int32_t> q_sums;

  Ternary(size_t m, size_t n, size_t k)
      : m(m),
        n(n),
        k(k),
        blocks(blocks_for(k)),
        w(n * blocks * 64),
        q(m * blocks * 256),
        q_sums(m) {}

  void fill(Random* random) {
    fill_bytes(&w, random);
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < k; j++) row(i)[j] = static_cast<int8_t>(random->next());
    }
    sum();
  }
  void fill(int weight_code, int activation) {
    memset(w.data, weight_code * 0x55, w.size());
    for (size_t i = 0; i < m; i++) memset(row(i), activation, k);
    sum();
  }
  void sum() {
    for (size_t i = 0; i < m; i++) {
      q_sums[i] = 0;
      for (size_t j = 0; j < k; j++) q_sums[i] += row(i)[j];
    }
  }
  int8_t* row(size_t i) { return q.data + i * blocks * 256; }
  // Every activation row by weight row j.
  std::vector<int32_t> products(size_t j) {
    const std::vector<int8_t> weights = weights_of(w.data + j * blocks * 64, k);
    std::vector<int32_t> sums(m);
    for (size_t i = 0; i < m; i++) sums[i] = product(row(i), weights);
    return sums;
  }
};

// A matrix with any codes and `count` of its rows, in order. The last row is among them: it ends at
// a forbidden page.
struct Some {
  size_t total, count, blocks;
  Guarded<uint8_t> w;
  Guarded<int32_t> index;

  Some(size_t total, size_t count, size_t blocks, Random* random)
      : total(total), count(count), blocks(blocks), w(total * blocks * 64), index(count) {
    fill_bytes(&w, random);
    size_t left = total, wanted = count;  // every subset is as likely
    for (size_t i = 0; wanted; i++, left--) {
      if (random->below(left) < wanted) index[count - wanted--] = static_cast<int32_t>(i);
    }
    if (count) index[count - 1] = static_cast<int32_t>(total - 1);
  }
  const uint8_t* row(size_t i) const {
    return w.data + static_cast<size_t>(index.data[i]) * blocks * 64;
  }
};

constexpr int32_t kUntouched = 0x5a5a5a5a;
constexpr size_t kDepths[] = {1,   2,   15,  16,  17,  63,  64,   65,   127,  255,
                              256, 257, 300, 511, 513, 640, 1281, 2560, 4100, 6912};
constexpr size_t kCounts[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,
                              31, 32, 33, 34, 35, 36, 37, 63, 85, 300};
