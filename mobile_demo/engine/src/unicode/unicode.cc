#include "unicode/unicode.h"

#include <stddef.h>
#include <stdlib.h>

#include <algorithm>

#include "base/utf8.h"

namespace edge {
namespace {

// Where a search of a table may begin: the first character of a run, and its number's place.
struct Stop {
  uint32_t start;
  uint16_t place;
};

#include "unicode/unicode_tables.inc"

// A number that make_unicode.py wrote.
uint32_t next_number(const uint8_t** at) {
  uint32_t number = 0;
  for (int shift = 0;; shift += 7) {
    const uint8_t byte = *(*at)++;
    number |= static_cast<uint32_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return number;
  }
}

uint32_t moved(uint32_t from, uint32_t by) { return by & 1 ? from - by / 2 - 1 : from + by / 2; }

struct Runs {
  const Stop *stops, *stops_end;
  const uint8_t *runs, *runs_end;
  const uint8_t* values;
  uint32_t value_count;

  uint8_t value_of(uint32_t c) const {
    const Stop* stop = std::upper_bound(
        stops, stops_end, c, [](uint32_t wanted, const Stop& s) { return wanted < s.start; });
    uint32_t start = (--stop)->start;
    const uint8_t* at = runs + stop->place;
    uint32_t value = next_number(&at) % value_count;  // its distance is that from the run before
    while (at != runs_end) {
      const uint32_t next = next_number(&at);
      start += next / value_count;
      if (start > c) break;
      value = next % value_count;
    }
    return values[value];
  }
};

uint8_t combining_class(uint32_t c) {
  constexpr Runs kRuns = {kCombiningStops,  std::end(kCombiningStops),
                          kCombiningRuns,   std::end(kCombiningRuns),
                          kCombiningValues, sizeof kCombiningValues};
  return c < 0x300 ? uint8_t{0} : kRuns.value_of(c);
}

// Hangul syllables: kL leading consonants, kV vowels, kT trailing consonants with none.
constexpr uint32_t kSyllables = 0xac00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11a7;
constexpr uint32_t kL = 19, kV = 21, kT = 28;
constexpr uint32_t kLongest = 4;  // characters that replace one

uint64_t parts_of(uint32_t first, uint32_t second) { return uint64_t{second} << 32 | first; }

}  // namespace

uint8_t class_of(uint32_t c) {
  constexpr Runs kRuns = {kClassStops,          std::end(kClassStops), kClassRuns,
                          std::end(kClassRuns), kClassValues,          sizeof kClassValues};
  return c < 128 ? kAsciiClass[c] : kRuns.value_of(c);
}

struct Nfc::Mark {
  uint32_t c;
  uint8_t combining;
};

Nfc::Nfc() {
  uint32_t first, whole, second = 0;
  for (const uint8_t* at = kPairs; at != std::end(kPairs);) {
    second += next_number(&at);
    first = whole = 0;
    for (uint32_t left = next_number(&at); left > 0; left--) {
      const uint32_t step = next_number(&at);
      first += step;
      whole = moved(whole + step, next_number(&at));
      pairs_.push_back({parts_of(first, second), whole});
      parts_.push_back(first);
      parts_.push_back(second);
      add(whole, 2);
    }
  }
  uint32_t c = 0, part = 0;
  for (const uint8_t* at = kReplaced; at != std::end(kReplaced);) {
    const uint32_t next = next_number(&at), count = next % kLongest + 1;
    c += next / kLongest;
    for (uint32_t i = 0; i < count; i++) {
      part = moved(part, next_number(&at));
      parts_.push_back(part);
    }
    add(c, count);
  }
  qsort(wholes_.data(), wholes_.size(), sizeof(Whole), [](const void* a, const void* b) {
    const uint32_t one = static_cast<const Whole*>(a)->c, other = static_cast<const Whole*>(b)->c;
    return (one > other) - (one < other);
  });
}

void Nfc::add(uint32_t whole, size_t count) {
  wholes_.push_back(
      {whole, static_cast<uint16_t>(parts_.size() - count), static_cast<uint16_t>(count)});
}

// No character's parts go deeper than a few levels.
void Nfc::decompose(uint32_t c, std::vector<Mark>* out) const {
  if (c >= kSyllables && c < kSyllables + kL * kV * kT) {
    const uint32_t i = c - kSyllables;
    out->push_back({kLeading + i / (kV * kT), 0});
    out->push_back({kVowels + i / kT % kV, 0});
    if (i % kT) out->push_back({kTrailing + i % kT, 0});
    return;
  }
  if (c >= 0xc0) {
    const auto found =
        std::lower_bound(wholes_.begin(), wholes_.end(), c,
                         [](const Whole& whole, uint32_t to) { return whole.c < to; });
    if (found != wholes_.end() && found->c == c) {
      for (uint32_t i = 0; i < found->count; i++) decompose(parts_[found->start + i], out);
      return;
    }
  }
  out->push_back({c, combining_class(c)});
}

// What two characters compose to, 0 for nothing.
uint32_t Nfc::composed(uint32_t a, uint32_t b) const {
  if (a >= kLeading && a < kLeading + kL && b >= kVowels && b < kVowels + kV) {
    return kSyllables + ((a - kLeading) * kV + (b - kVowels)) * kT;
  }
  if (a >= kSyllables && a < kSyllables + kL * kV * kT && (a - kSyllables) % kT == 0 &&
      b > kTrailing && b < kTrailing + kT) {
    return a + (b - kTrailing);
  }
  const uint64_t parts = parts_of(a, b);
  const auto found =
      std::lower_bound(pairs_.begin(), pairs_.end(), parts,
                       [](const Pair& pair, uint64_t to) { return pair.parts < to; });
  return found != pairs_.end() && found->parts == parts ? found->whole : 0;
}

// Marks of one class keep their order.
void Nfc::order(std::vector<Mark>* text) {
  std::vector<Mark> marks;
  for (size_t start = 0, end; start < text->size(); start = end + 1) {
    for (end = start; end < text->size() && (*text)[end].combining; end++) {
    }
    if (end - start < 2) continue;
    size_t places[256] = {};  // of the next mark of each class
    for (size_t i = start; i < end; i++) places[(*text)[i].combining]++;
    size_t next = start;
    for (size_t& place : places) {
      const size_t count = place;
      place = next;
      next += count;
    }
    marks.assign(text->data() + start, text->data() + end);
    for (const Mark& mark : marks) (*text)[places[mark.combining]++] = mark;
  }
}

void Nfc::compose(std::vector<Mark>* text) const {
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

std::string Nfc::normalized(std::string_view text) const {
  std::vector<Mark> marks;
  bool plain = true;
  for (size_t place = 0; place < text.size();) {
    const uint32_t c = static_cast<uint32_t>(next_code_point(text, &place));
    plain = plain && c < 0x300;
    decompose(c, &marks);
  }
  if (plain) return std::string(text);  // no character below is changed or composes
  order(&marks);
  compose(&marks);
  std::string out;
  out.reserve(text.size());
  for (const Mark& mark : marks) append_code_point(&out, mark.c);
  return out;
}

}  // namespace edge
