// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/attend.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  AttendUnpackInt4* unpack;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, attend_unpack_int4_##isa},
#include "kernels/attend_unpack_int4/kernels.inc"
};

void check(const Row& row, size_t d, size_t positions) {
  CASE("attend_unpack_int4_%s d %zu positions %zu", row.isa, d, positions);
  Random random = {d * 100 + positions};
  const size_t blocks = (d + kCacheBlock - 1) / kCacheBlock;
  Guarded<uint8_t> packed(positions * blocks * kCacheBytes);
  Guarded<int8_t> x(positions * d + kCacheBlock);
  for (size_t i = 0; i < packed.size(); i++) packed[i] = static_cast<uint8_t>(random.next());
  row.unpack(positions, d, packed.data, x.data);
  for (size_t i = 0; i < positions * d; i++) {
    const size_t e = i % d % kCacheBlock, shift = e / kCacheGroup * 4;
    const uint8_t* block = &packed[(i / d * blocks + i % d / kCacheBlock) * kCacheBytes];
    const int code = block[e % kCacheGroup] >> shift & 15, times = (block[16] >> shift & 15) + 2;
    CHECK(x[i] == ((code - 8) * times < -128 ? -128 : (code - 8) * times));
  }
}

}  // namespace

TEST(attend_unpack_int4, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t d : {2, 16, 18, 30, 32, 34, 64, 80, 128, 512}) {
      for (size_t positions : {1, 2, 7, 64}) check(row, d, positions);
    }
  }
}
