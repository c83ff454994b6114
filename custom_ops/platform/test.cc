// Rounding to float16, and the list of CPUs.
#include "testing/attend.h"

using namespace bitnet;

// Each float16 comes back; halfway to the next one goes to the even one, and its neighbours do not.
TEST(platform, rounding_to_float16) {
  for (uint16_t half = 0; half < 0x7c00; half++) {
    CASE("float16 %04x", half);
    const uint16_t next = static_cast<uint16_t>(half + 1), even = half % 2 ? next : half;
    const float value = half_value(half), above = next < 0x7c00 ? half_value(next) : 65536.0f;
    const float middle = (value + above) / 2;  // 12 bits: exact
    CHECK(round_f16(value) == half && round_f16(-value) == (half | 0x8000));
    CHECK(round_f16(middle) == even && round_f16(-middle) == (even | 0x8000));
    CHECK(round_f16(nextafterf(middle, 0)) == half);
    CHECK(round_f16(nextafterf(middle, INFINITY)) == next);
  }
  for (float large : {65536.0f, 1e30f, INFINITY}) CHECK(round_f16(large) == 0x7c00);
  for (float small : {1e-45f, 1e-38f, 1e-8f}) CHECK(round_f16(-small) == 0x8000);
  CHECK((round_f16(NAN) & 0x7fff) > 0x7c00);
}

TEST(platform, cpus) {
  CHECK(kCpus[kCpuCount - 1].features == 0);
  for (size_t i = 0; i + 1 < kCpuCount; i++) {
    CASE("%s", kCpus[i].name);
    CHECK(kCpus[i].features != 0);
    // A later CPU that could do all of it would be the better one.
    for (size_t j = i + 1; j < kCpuCount; j++) {
      CHECK(!has_all(kCpus[j].features, kCpus[i].features));
    }
  }
}
