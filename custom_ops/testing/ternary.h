// Packed ternary weights for tests. The format is written here once more.
#pragma once

#include "testing/check.h"

inline size_t blocks_for(size_t k) { return (k + 255) / 256; }
inline size_t row_bytes_for(size_t k) { return blocks_for(k) * 64; }

// The code of weight k of a packed row.
inline int code(const uint8_t* row, size_t k) {
  return row[k / 256 * 64 + k % 64] >> (2 * (k / 64 % 4)) & 3;
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
  // Activation row i by weight row j.
  int32_t product(size_t i, size_t j) {
    int32_t sum = 0;
    for (size_t l = 0; l < k; l++) sum += row(i)[l] * (code(w.data + j * blocks * 64, l) - 1);
    return sum;
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
