#include "text/tokenizer.h"

#include <algorithm>

#include "base/file.h"
#include "base/utf8.h"
#include "text/tokenizer_parts.h"
#include "unicode/unicode.h"
#include "words/keys.h"

namespace edge {

// Tokens around a model's thoughts and tool calls: an answer shows them.
constexpr char kMarkers[][20] = {
    "<think>",           "</think>",       "<tool_call>",  "</tool_call>", "<|tool_call|>",
    "<|/tool_call|>",    "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]",       "<|tool_call_start|>",
    "<|tool_call_end|>", "<tool_calls>",   "</tool_calls>"};

static Status not_utf8() {
  return fail(BITNET_EDGE_ARGUMENT, "the text cannot be encoded, expected valid UTF-8");
}

Tokenizer::Tokenizer() : parts_(new Parts) {}
Tokenizer::~Tokenizer() = default;

static Status read_optional(const std::string& folder, const char* name, Json* out) {
  return file_exists(join(folder, name)) ? read_json(folder, name, out) : Status();
}

static Status check_options(const Value& config) {
  const char* name = "clean_up_tokenization_spaces";
  const char* anyway = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
  if (!truthy(config.get(name)) || !truthy(config.get(anyway))) return {};
  return fail(BITNET_EDGE_UNSUPPORTED,
              "tokenizer_config.json has %s, which this engine does not know, expected it false",
              anyway);
}

Status Tokenizer::open(const std::string& folder, std::unique_ptr<Tokenizer>* out) {
  out->reset();
  Json file, config, model, map, added, generation;
  std::string content;
  const std::string path = join(folder, "tokenizer.json");
  Status status = read_file(path, Json::kMaxBytes, &content);
  if (status.ok()) status = parse(content, path.c_str(), &file);
  if (status.ok()) status = read_json(folder, "tokenizer_config.json", &config);
  if (status.ok()) status = read_optional(folder, "config.json", &model);
  if (status.ok()) status = read_optional(folder, "special_tokens_map.json", &map);
  if (status.ok()) status = read_optional(folder, "added_tokens.json", &added);
  if (status.ok()) status = read_optional(folder, "generation_config.json", &generation);
  const TokenizerClass* known = nullptr;
  if (status.ok()) status = check_options(config.root());
  if (status.ok()) status = find_class(config.root(), model.root(), content, &known);
  if (!status.ok()) return status;
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer);
  Parts& parts = *tokenizer->parts_;
  status = parts.read_file(file.root(), known, config.root());
  if (status.ok()) {
    status = parts.read_tokens(
        {file.root(), config.root(), map.root(), added.root(), generation.root()}, known);
  }
  if (!status.ok()) return status;
  status = parts.added.index(parts.nfc.get());
  if (!status.ok()) return status;
  parts.split_special = truthy(config.get("split_special_tokens"));
  const auto ends = [&](int32_t id) {
    return std::find(parts.eos.begin(), parts.eos.end(), id) != parts.eos.end();
  };
  while (!parts.tail.empty() && ends(parts.tail.back())) parts.tail.pop_back();
  *out = std::move(tokenizer);
  return {};
}

int32_t Tokenizer::Parts::id_of(std::string_view token) const {
  const int32_t id = added.id_of(token);
  return id >= 0 ? id : bpe.vocabulary().id_of(token);
}

void Tokenizer::Parts::encode(std::string_view text, bool special,
                              std::vector<int32_t>* ids) const {
  for (const AddedTokens::Part& part : added.split(text, false, special)) {
    if (part.id >= 0) {
      ids->push_back(part.id);
      continue;
    }
    std::string_view between = text.substr(part.begin, part.end - part.begin);
    std::string normal;
    if (nfc) between = normal = nfc->normalized(between);
    for (const AddedTokens::Part& inner : added.split(between, true, special)) {
      if (inner.id >= 0) {
        ids->push_back(inner.id);
      } else {
        words.encode(between.substr(inner.begin, inner.end - inner.begin), bpe, ids);
      }
    }
  }
}

static bool starts_with(const std::vector<int32_t>& ids, size_t from,
                        const std::vector<int32_t>& with) {
  return ids.size() - from >= with.size() &&
         std::equal(with.begin(), with.end(), ids.begin() + static_cast<ptrdiff_t>(from));
}

Status Tokenizer::encode(std::string_view text, bool special, std::vector<int32_t>* ids) const {
  ids->clear();
  if (!is_utf8(text)) return not_utf8();
  parts_->encode(text, special && !parts_->split_special, ids);
  if (!special) return {};
  size_t from = 0;  // the text may begin with the bos itself
  while (!head().empty() && starts_with(*ids, from, head())) from += head().size();
  ids->erase(ids->begin(), ids->begin() + static_cast<ptrdiff_t>(from));
  ids->insert(ids->begin(), head().begin(), head().end());
  ids->insert(ids->end(), parts_->tail.begin(), parts_->tail.end());
  return {};
}

std::string Tokenizer::decode(const int32_t* ids, size_t count, bool skip_special) const {
  std::string all;
  for (size_t i = 0; i < count; i++) {
    if (!skip_special || !special(ids[i])) all += bytes(ids[i]);
  }
  return lossy(all);
}

static std::string_view token_of(const Tokenizer::Parts& parts, int32_t id) {
  if (const Added* added = parts.added.get(id)) return added->content;
  const Vocabulary& vocabulary = parts.bpe.vocabulary();
  return vocabulary.has(id) ? vocabulary.token(id) : std::string_view();
}

std::string Tokenizer::bytes(int32_t id) const {
  const std::string_view token = token_of(*parts_, id);
  std::string out;
  for (size_t place = 0; place < token.size();) {
    const int32_t c = next_code_point(token, &place);
    const int byte = byte_of_character(static_cast<uint32_t>(c));
    if (byte < 0) return std::string(token);  // it stands for its own text
    out += static_cast<char>(byte);
  }
  return out;
}

int32_t Tokenizer::id_of(std::string_view token) const { return parts_->id_of(token); }

bool Tokenizer::special(int32_t id) const {
  return parts_->added.is_special(token_of(*parts_, id));
}

int32_t Tokenizer::size() const {
  int32_t size = parts_->bpe.vocabulary().size();
  for (size_t i = 0; i < parts_->added.size(); i++) {
    size += parts_->bpe.vocabulary().id_of(parts_->added.by_id(i).token.content) < 0;
  }
  return size;
}

const std::vector<int32_t>& Tokenizer::head() const { return parts_->head; }
const std::vector<int32_t>& Tokenizer::eos() const { return parts_->eos; }

bool Tokenizer::hidden(int32_t id) const {
  const Added* added = parts_->added.get(id);
  if (!added || !added->special || !special(id)) return false;
  for (const char* marker : kMarkers) {
    if (added->content == marker) return false;
  }
  return true;
}

bool Tokenizer::knows(int32_t id) const {
  return parts_->added.get(id) || parts_->bpe.vocabulary().has(id);
}

}  // namespace edge
