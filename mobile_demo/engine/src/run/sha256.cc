#include "run/sha256.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <memory>

namespace edge {
namespace {

// FIPS 180-4.
constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr size_t kBlock = 64;
constexpr size_t kChunk = 1 << 16;

uint32_t rotated(uint32_t x, int bits) { return (x >> bits) | (x << (32 - bits)); }

void add_block(const uint8_t* block, uint32_t* state) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++) {
    const uint8_t* b = block + 4 * i;
    w[i] = uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | b[3];
  }
  for (int i = 16; i < 64; i++) {
    const uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ (a >> 3)) + w[i - 7] +
           (rotated(b, 17) ^ rotated(b, 19) ^ (b >> 10));
  }
  uint32_t s[8];
  memcpy(s, state, sizeof(s));
  for (int i = 0; i < 64; i++) {
    const uint32_t e = s[4], a = s[0];
    const uint32_t first = s[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
                           ((e & s[5]) ^ (~e & s[6])) + kRounds[i] + w[i];
    const uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) +
                            ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof(uint32_t));
    s[4] += first;
    s[0] = first + second;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

// Fills a chunk as far as the file goes; -1 where it cannot be read.
ssize_t read_chunk(int file, uint8_t* chunk) {
  size_t filled = 0;
  while (filled < kChunk) {
    const ssize_t got = read(file, chunk + filled, kChunk - filled);
    if (got < 0) return -1;
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(filled);
}

}  // namespace

Status sha256(const std::string& path, std::string* hex) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const std::unique_ptr<uint8_t[]> chunk(new uint8_t[kChunk + 2 * kBlock]);
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t total = 0;
  ssize_t filled = file < 0 ? -1 : 0;
  while (filled >= 0) {
    filled = read_chunk(file, chunk.get());
    if (filled < 0) break;
    total += static_cast<uint64_t>(filled);
    size_t end = static_cast<size_t>(filled);
    const bool last = end < kChunk;
    if (last) {  // a bit of 1, zeros, and the number of bits
      chunk[end++] = 0x80;
      while (end % kBlock != kBlock - 8) chunk[end++] = 0;
      for (int shift = 56; shift >= 0; shift -= 8) {
        chunk[end++] = static_cast<uint8_t>((total * 8) >> shift);
      }
    }
    for (size_t at = 0; at < end; at += kBlock) add_block(chunk.get() + at, state);
    if (last) break;
  }
  if (file >= 0) close(file);
  if (filled < 0) return fail(BITNET_EDGE_ARTIFACT, "%s cannot be read", path.c_str());
  hex->clear();
  for (const uint32_t word : state) {
    for (int shift = 28; shift >= 0; shift -= 4)
      hex->push_back("0123456789abcdef"[word >> shift & 15]);
  }
  return {};
}

}  // namespace edge
