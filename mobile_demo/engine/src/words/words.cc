#include "words/words.h"

#include "unicode/unicode.h"
#include "words/keys.h"

namespace edge {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr size_t kMaxSteps = 16;

static Status unsupported(const char* what) {
  return fail(
      BITNET_EDGE_UNSUPPORTED,
      "the pre_tokenizer of tokenizer.json is %s, which this engine does not know, expected "
      "a ByteLevel one, alone or behind Split and Digits",
      what);
}

Status Words::read(const Value& pre_tokenizer) {
  if (type_of(pre_tokenizer) != "Sequence") {
    if (const Status status = read_step(pre_tokenizer); !status.ok()) return status;
  } else {
    Status status = only_keys(pre_tokenizer, "the pre_tokenizer", {"type", "pretokenizers"});
    const Value* steps = pre_tokenizer.get("pretokenizers");
    if (!steps || !steps->is_array()) return unsupported("a Sequence of no list");
    for (const Value& step : *steps) {
      if (status.ok()) status = read_step(step);
    }
    if (!status.ok()) return status;
  }
  return byte_level_ ? Status() : unsupported("without a ByteLevel");
}

Status Words::read_step(const Value& step) {
  if (byte_level_) return unsupported("one with a step behind its ByteLevel");
  if (steps_.size() >= kMaxSteps) return unsupported("of more than 16 steps");
  const std::string_view type = type_of(step);
  if (type == "ByteLevel") return read_byte_level(step);
  if (type == "Split") return read_split(step);
  if (type != "Digits") return unsupported(quoted(type).c_str());
  bool each = false;
  Status status = only_keys(step, "Digits of the pre_tokenizer", {"type", "individual_digits"});
  if (status.ok()) status = read_flag(step, "individual_digits", &each);
  steps_.push_back({each ? Step::kDigit : Step::kDigits, {}, true});
  return status;
}

Status Words::read_split(const Value& step) {
  Status status =
      only_keys(step, "Split of the pre_tokenizer", {"type", "pattern", "behavior", "invert"});
  if (!status.ok()) return status;
  const Value* pattern = step.get("pattern");
  const Value* regex = pattern ? pattern->get("Regex") : nullptr;
  if (!regex || !regex->is_string() || pattern->size() != 1) {
    return unsupported("a Split by another pattern than a Regex");
  }
  const Value* behavior = step.get("behavior");
  bool inverted = false;
  status = read_flag(step, "invert", &inverted);
  const bool isolated = behavior && behavior->text() == "Isolated" && !inverted;
  const bool kept = behavior && behavior->text() == "Removed" && inverted;
  if (status.ok() && !isolated && !kept) return unsupported("a Split that is not Isolated");
  Step read{Step::kPattern, {}, isolated};
  if (status.ok()) status = Pattern::read(regex->text(), &read.pattern);
  steps_.push_back(std::move(read));
  return status;
}

Status Words::read_byte_level(const Value& step) {
  bool cuts = true;
  Status status = only_keys(step, "ByteLevel of the pre_tokenizer",
                            {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  if (status.ok()) status = read_flag(step, "add_prefix_space", &blank_);
  if (status.ok() && step.get("use_regex")) status = read_flag(step, "use_regex", &cuts);
  byte_level_ = true;
  before_blank_ = steps_.size();
  if (!cuts || !status.ok()) return status;
  Step words{Step::kPattern, {}, true};
  status = Pattern::read(kGpt2, &words.pattern);
  steps_.push_back(std::move(words));
  return status;
}

// Some of a text's characters.
struct Words::Piece {
  const Characters& characters;
  std::string_view text;
  size_t begin, end;

  size_t offset(size_t i) const {
    return i < characters.size() ? characters[i].offset : text.size();
  }
  std::string_view bytes() const { return text.substr(offset(begin), offset(end) - offset(begin)); }
  Piece part(size_t from, size_t to) const { return {characters, text, from, to}; }
};

void Words::encode(std::string_view text, const Bpe& bpe, std::vector<int32_t>* ids) const {
  const Characters characters = characters_of(text);
  cut(0, {characters, text, 0, characters.size()}, bpe, ids);
}

// The depth is the number of steps.
void Words::cut(size_t step, const Piece& piece, const Bpe& bpe, std::vector<int32_t>* ids) const {
  if (piece.begin == piece.end) return;
  if (step == before_blank_ && blank_ && piece.bytes()[0] != ' ') {
    const std::string text = " " + std::string(piece.bytes());
    const Characters characters = characters_of(text);
    cut(step, {characters, text, 0, characters.size()}, bpe, ids);
    return;
  }
  if (step == steps_.size()) {
    bpe.encode(piece.bytes(), ids);
    return;
  }
  const Step& cutter = steps_[step];
  size_t others = piece.begin;  // what was not matched begins here
  for (size_t at = piece.begin; at < piece.end;) {
    size_t end = Pattern::kNone;
    if (cutter.kind == Step::kPattern) {
      end = cutter.pattern.match(piece.characters, at, piece.end);
    } else if (piece.characters[at].bits & kNumeric) {
      for (end = at + 1; cutter.kind == Step::kDigits && end < piece.end; end++) {
        if (!(piece.characters[end].bits & kNumeric)) break;
      }
    }
    if (end == Pattern::kNone) {
      at++;
      continue;
    }
    if (cutter.keeps_others) cut(step + 1, piece.part(others, at), bpe, ids);
    cut(step + 1, piece.part(at, end), bpe, ids);
    others = at = end;
  }
  if (cutter.keeps_others) cut(step + 1, piece.part(others, piece.end), bpe, ids);
}

}  // namespace edge
