// Reads tokenizer.json, but for its added tokens.
#include "text/tokenizer_parts.h"
#include "words/keys.h"

namespace edge {

constexpr int kMaxDepth = 8;
static const Value kNull;

static const Value& part_of(const Value& file, const char* name) {
  const Value* part = file.get(name);
  return part ? *part : kNull;
}

static Status unsupported(const char* part, std::string_view type, const char* expected) {
  return fail(
      BITNET_EDGE_UNSUPPORTED,
      "the %s of tokenizer.json is %s, which this engine does not know (it knows byte-level "
      "BPE, and not SentencePiece), expected %s",
      part, quoted(type).c_str(), expected);
}

static Status read_written(const char* json, Json* out) { return parse(json, "a class", out); }

Status Tokenizer::Parts::read_file(const Value& file, const TokenizerClass* known,
                                   const Value& config) {
  Status status = only_keys(file, "the object",
                            {"version", "truncation", "padding", "added_tokens", "normalizer",
                             "pre_tokenizer", "post_processor", "decoder", "model"});
  if (!status.ok()) return status;
  const Value& model = part_of(file, "model");
  if (type_of(model) != "BPE") return unsupported("model", type_of(model), "BPE");
  const Value& decoder = part_of(file, "decoder");
  if (!known && type_of(decoder) != "ByteLevel") {
    return unsupported("decoder", type_of(decoder), "ByteLevel");
  }
  Json normalizer, pre_tokenizer;
  if (known) {
    const char* blank = truthy(config.get("add_prefix_space")) ? "true" : "false";
    std::string steps = known->pre_tokenizer;
    steps.replace(steps.find("%s"), 2, blank);
    status = read_written(known->normalizer, &normalizer);
    if (status.ok()) status = read_written(steps.c_str(), &pre_tokenizer);
  }
  if (status.ok()) {
    status = read_normalizer(known ? normalizer.root() : part_of(file, "normalizer"));
  }
  if (status.ok()) {
    status = words.read(known ? pre_tokenizer.root() : part_of(file, "pre_tokenizer"));
  }
  if (status.ok() && (!known || known->keeps_post_processor)) {
    status = read_post_processor(part_of(file, "post_processor"), 0);
  }
  return status.ok() ? bpe.read(model, known != nullptr) : status;
}

Status Tokenizer::Parts::read_normalizer(const Value& normalizer) {
  const std::string_view type = type_of(normalizer);
  if (type == "null") return {};
  if (type == "NFC") {
    nfc.reset(new Nfc);
    return only_keys(normalizer, "the normalizer", {"type"});
  }
  if (type != "Sequence") return unsupported("normalizer", type, "null or NFC");
  Status status = only_keys(normalizer, "the normalizer", {"type", "normalizers"});
  const Value& steps = part_of(normalizer, "normalizers");
  for (const Value& step : steps) {
    if (status.ok() && type_of(step) != "NFC")
      status = unsupported("normalizer", type_of(step), "NFC");
  }
  if (steps.size() > 0) nfc.reset(new Nfc);
  return status;
}

// The ids of a special token that a template names.
static Status read_ids(const Value& special_tokens, const Value& piece, std::vector<int32_t>* ids) {
  const Value* name = piece.get("id");
  const Value* token = name && name->is_string() ? special_tokens.get(name->text()) : nullptr;
  const Value* listed = token ? token->get("ids") : nullptr;
  if (!listed || !listed->is_array()) {
    return fail(
        BITNET_EDGE_ARTIFACT,
        "the post_processor of tokenizer.json writes %s, expected one of its special_tokens",
        quoted(name ? name->text() : "").c_str());
  }
  for (const Value& id : *listed) {
    if (!id.is_integer() || id.integer() < 0 || id.integer() >= Vocabulary::kMaxIds) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "the post_processor of tokenizer.json writes another value than an id, expected "
                  "one");
    }
    ids->push_back(static_cast<int32_t>(id.integer()));
  }
  return {};
}

static Status read_template(const Value& processor, std::vector<int32_t>* head,
                            std::vector<int32_t>* tail) {
  Status status =
      only_keys(processor, "the post_processor", {"type", "single", "pair", "special_tokens"});
  std::vector<int32_t> before, behind;
  size_t texts = 0;
  const Value& single = part_of(processor, "single");
  for (const Value& piece : single) {
    const Value* token = piece.get("SpecialToken");
    if (!token && !piece.get("Sequence")) texts = 2;  // not one that is known
    if (!token) {
      const Value* name = part_of(piece, "Sequence").get("id");
      texts += name && name->text() == "A" ? 1 : 2;
    } else if (status.ok()) {
      status = read_ids(part_of(processor, "special_tokens"), *token, texts ? &behind : &before);
    }
  }
  if (status.ok() && (texts != 1 || !single.is_array())) {
    return fail(BITNET_EDGE_ARTIFACT,
                "the post_processor of tokenizer.json changes or repeats the text, expected one "
                "that adds special tokens before and behind it");
  }
  *head = std::move(before);
  *tail = std::move(behind);
  return status;
}

Status Tokenizer::Parts::read_post_processor(const Value& processor, int depth) {
  const std::string_view type = type_of(processor);
  if (type == "null" || type == "ByteLevel") {
    return only_keys(processor, "the post_processor",
                     {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }
  if (type == "TemplateProcessing" && head.empty() && tail.empty()) {
    return read_template(processor, &head, &tail);
  }
  if (type != "Sequence" || depth > kMaxDepth) {
    return unsupported("post_processor", type, "one TemplateProcessing, ByteLevel or both");
  }
  Status status = only_keys(processor, "the post_processor", {"type", "processors"});
  for (const Value& step : part_of(processor, "processors")) {
    if (status.ok()) status = read_post_processor(step, depth + 1);
  }
  return status;
}

}  // namespace edge
