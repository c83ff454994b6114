// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/attend.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  AttendWeightsInt8* weights;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, attend_weights_int8_##isa},
#include "kernels/attend_weights_int8/kernels.inc"
};

// `bad`: what one of the scales is.
void check(const Row& row, size_t rows, size_t positions, float bad) {
  CASE("attend_weights_int8_%s rows %zu positions %zu, one %g", row.isa, rows, positions,
       static_cast<double>(bad));
  Random random = {rows * 1000 + positions};
  const size_t stride = positions + 5;
  Guarded<double> weights((rows - 1) * stride + positions), scale(rows);
  Guarded<float> v_scale(positions);
  Guarded<int16_t> p(rows * kAttendSpan);
  for (size_t i = 0; i < weights.size(); i++) {
    const int down = static_cast<int>(random.below(30));
    weights[i] = static_cast<double>(ldexpf(fabsf(random.real()), -down));
  }
  for (size_t t = 0; t < positions; t++) v_scale[t] = random.real() * (rows % 2 ? 1 : 1e-28f);
  v_scale[random.below(positions)] = bad;
  row.weights(rows, positions, weights.data, stride, v_scale.data, p.data, scale.data);
  for (size_t r = 0; r < rows; r++) {
    float x[kAttendSpan] = {0}, most = 1e-30f;
    for (size_t t = 0; t < positions; t++) {
      x[t] = static_cast<float>(weights[r * stride + t]) * v_scale[t];
      most = fmaxf(most, fabsf(x[t]));
    }
    const bool finite = isfinite(bad);
    for (size_t t = 0; t < kAttendSpan; t++) {
      CHECK(p[r * kAttendSpan + t] == (finite ? lrintf(x[t] * (32512.0f / most)) : 0));
    }
    CHECK(same_bits(scale[r], static_cast<double>(finite ? 1.0f / (32512.0f / most) : NAN)));
  }
}

}  // namespace

TEST(attend_weights_int8, positions) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t positions = 1; positions <= kAttendSpan; positions++) {
      for (size_t rows = 1; rows <= kAttendRows; rows++) {
        for (float bad : {0.0f, 1e30f, NAN, INFINITY, -INFINITY}) check(row, rows, positions, bad);
      }
    }
  }
}
