#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

static void one(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
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

void int8_gemv_scalar(size_t m, size_t rows, size_t k, const int16_t* q, size_t q_stride,
                      const uint8_t* w, int64_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++) one(rows, k, q + i * q_stride, w, sums + i * stride);
}

}  // namespace bitnet
