#include "unicode/unicode.h"

#include <stddef.h>

#include <algorithm>
#include <vector>

#include "base/utf8.h"

namespace edge {

#include "unicode/unicode_tables.inc"

template <size_t N>
static uint8_t run_of(const uint32_t (&runs)[N], uint32_t c) {
  return static_cast<uint8_t>(*(std::upper_bound(runs, runs + N, c << 8 | 0xff) - 1));
}

uint8_t class_of(uint32_t c) { return c < 128 ? kAsciiClass[c] : run_of(kClassRuns, c); }

static uint8_t combining_class(uint32_t c) {
  return c < 0x300 ? uint8_t{0} : run_of(kCombiningRuns, c);
}

// Hangul syllables: kL leading consonants, kV vowels, kT trailing consonants with none.
constexpr uint32_t kSyllables = 0xac00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11a7;
constexpr uint32_t kL = 19, kV = 21, kT = 28;

namespace {
struct Mark {
  uint32_t c;
  uint8_t combining;
  size_t place = 0;  // in a run of marks
};
}  // namespace

constexpr size_t kPairCount = sizeof kPairsByParts / sizeof kPairsByParts[0];
constexpr size_t kReplacedCount = sizeof kReplaced / sizeof kReplaced[0];

static uint32_t part_of_pair(size_t pair, size_t part) {
  return kPairs[3 * pair + part] | (pair < kFirstPairOfPlane1 ? 0u : 0x10000u);
}

static uint32_t replaced_at(size_t i) {
  const uint32_t plane = (i >= kFirstReplacedOfPlane1) + (i >= kFirstReplacedOfPlane2);
  return kReplaced[i] | plane << 16;
}

// Where a rising sequence reaches c; `count` where it does not hold c.
template <typename At>
static size_t find(size_t count, uint32_t c, const At& at) {
  size_t low = 0, high = count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (at(middle) < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && at(low) == c ? low : count;
}

// No character's parts go deeper than a few levels.
static void decompose(uint32_t c, std::vector<Mark>* out) {
  if (c >= kSyllables && c < kSyllables + kL * kV * kT) {
    const uint32_t i = c - kSyllables;
    out->push_back({kLeading + i / (kV * kT), 0, 0});
    out->push_back({kVowels + i / kT % kV, 0, 0});
    if (i % kT) out->push_back({kTrailing + i % kT, 0, 0});
    return;
  }
  if (c >= 0xc0) {
    const size_t pair = find(kPairCount, c, [](size_t i) { return part_of_pair(i, 0); });
    if (pair < kPairCount) {
      decompose(part_of_pair(pair, 1), out);
      decompose(part_of_pair(pair, 2), out);
      return;
    }
    const size_t i = find(kReplacedCount, c, replaced_at);
    if (i < kReplacedCount) {
      for (size_t j = kReplacedStart[i]; j < kReplacedStart[i + 1]; j++) {
        uint32_t unit = kReplacedBy[j];
        if (unit >= 0xd800 && unit < 0xdc00) {
          unit = 0x10000 + (unit - 0xd800) * 0x400 + (kReplacedBy[++j] - 0xdc00u);
        }
        decompose(unit, out);
      }
      return;
    }
  }
  out->push_back({c, combining_class(c), 0});
}

// What two characters compose to, 0 for nothing.
static uint32_t composed(uint32_t a, uint32_t b) {
  if (a >= kLeading && a < kLeading + kL && b >= kVowels && b < kVowels + kV) {
    return kSyllables + ((a - kLeading) * kV + (b - kVowels)) * kT;
  }
  if (a >= kSyllables && a < kSyllables + kL * kV * kT && (a - kSyllables) % kT == 0 &&
      b > kTrailing && b < kTrailing + kT) {
    return a + (b - kTrailing);
  }
  const uint64_t wanted = uint64_t{a} << 32 | b;
  const uint16_t* end = kPairsByParts + kPairCount;
  const auto parts = [](size_t pair) {
    return uint64_t{part_of_pair(pair, 1)} << 32 | part_of_pair(pair, 2);
  };
  const uint16_t* at =
      std::lower_bound(kPairsByParts, end, wanted,
                       [&](uint16_t pair, uint64_t value) { return parts(pair) < value; });
  return at != end && parts(*at) == wanted ? part_of_pair(*at, 0) : 0;
}

static void order_marks(std::vector<Mark>* text) {
  for (size_t i = 0; i < text->size(); i++) {
    const size_t start = i;
    for (; i < text->size() && (*text)[i].combining; i++) (*text)[i].place = i;
    std::sort(text->data() + start, text->data() + i, [](const Mark& a, const Mark& b) {
      return a.combining != b.combining ? a.combining < b.combining : a.place < b.place;
    });
  }
}

static void compose(std::vector<Mark>* text) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t kept = 0, starter = kNone;
  uint8_t last = 0;  // the combining class before, of what was kept behind the starter
  for (const Mark& mark : *text) {
    const bool adjacent = starter != kNone && starter + 1 == kept;
    if (starter != kNone && (adjacent || (last != 0 && last < mark.combining))) {
      if (const uint32_t c = composed((*text)[starter].c, mark.c)) {
        (*text)[starter].c = c;
        continue;
      }
    }
    if (mark.combining == 0) starter = kept;
    last = mark.combining;
    (*text)[kept++] = mark;
  }
  text->resize(kept);
}

std::string nfc(std::string_view text) {
  std::vector<Mark> marks;
  bool plain = true;
  for (size_t place = 0; place < text.size();) {
    const uint32_t c = static_cast<uint32_t>(next_code_point(text, &place));
    plain = plain && c < 0x300;
    decompose(c, &marks);
  }
  if (plain) return std::string(text);  // no character below is changed or composes
  order_marks(&marks);
  compose(&marks);
  std::string out;
  out.reserve(text.size());
  for (const Mark& mark : marks) append_code_point(&out, mark.c);
  return out;
}

}  // namespace edge
