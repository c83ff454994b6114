// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/check.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  Read* read;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, read_##isa},
#include "kernels/read/kernels.inc"
};

}  // namespace

TEST(read, sizes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t bytes : {0, 1, 7, 8, 63, 64, 255, 256, 263, 4096, 5000}) {
      CASE("read_%s, %zu bytes", row.isa, bytes);
      Random random = {bytes};
      Guarded<uint8_t> data(bytes);
      for (size_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>(random.next());
      uint64_t expected = 0;
      for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, data.data + i, 8);
        expected ^= word;
      }
      CHECK(row.read(data.data, bytes) == expected);
    }
  }
}
