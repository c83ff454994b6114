// Weights of 4 or 6 bits for tests. The format is written here once more.
#pragma once

#include "testing/check.h"

struct LevelRows {
  int bits;
  size_t n, k, blocks;
  Guarded<uint8_t> codes;
  Guarded<int8_t> levels;

  LevelRows(int bits, size_t n, size_t k)
      : bits(bits),
        n(n),
        k(k),
        blocks((k + 255) / 256),
        codes(n * row_bytes()),
        levels(n * blocks * 8) {}

  size_t row_bytes() const { return blocks * 32 * static_cast<size_t>(bits); }
  void fill(Random* random) {
    for (size_t i = 0; i < codes.size(); i++) codes[i] = static_cast<uint8_t>(random->next());
    for (size_t i = 0; i < levels.size(); i++) levels[i] = static_cast<int8_t>(random->next());
  }
  // Weight `i` of row `row`.
  int at(size_t row, size_t i) const {
    const size_t size = 32 * static_cast<size_t>(bits), k = i % 256, lane = k % 64;
    const uint8_t* block = codes.data + row * row_bytes() + i / 256 * size;
    const uint8_t pair = block[k < 128 ? lane : 64 + lane];
    int code = k / 64 % 2 ? pair >> 4 : pair & 15;
    if (bits == 6) code += 16 * (block[128 + lane] >> (2 * (k / 64)) & 3);
    return levels.data[(row * blocks + i / 256) * 8 + i / 4 % 8] * (code - (bits == 6 ? 32 : 8));
  }
};
