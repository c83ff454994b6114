#include "kernels/select/select.h"

namespace bitnet {

size_t select_values_scalar(size_t count, const int8_t* q, int32_t* index, int8_t* values) {
  size_t taken = 0;
  for (size_t i = 0; i < count; i++) {  // without a branch, which would miss
    index[taken] = static_cast<int32_t>(i);
    values[taken] = q[i];
    taken += q[i] != 0;
  }
  return taken;
}

size_t select_open_scalar(size_t m, size_t count, const float* y, size_t stride, int32_t* index) {
  size_t taken = 0;
  for (size_t n = 0; n < count; n++) {
    bool open = false;
    for (size_t i = 0; i < m; i++) {
      const float gate = y[i * stride + n], positive = gate < 0 ? 0 : gate;
      open |= positive * positive != 0;
    }
    index[taken] = static_cast<int32_t>(n);
    taken += open;
  }
  return taken;
}

}  // namespace bitnet
