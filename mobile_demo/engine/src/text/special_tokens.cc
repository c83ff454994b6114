// The added tokens of a folder as transformers has them: those of tokenizer.json, those that its
// other files declare, and those that they name. The rules are those of
// bitnet_onnx/text/backend.py.
#include "text/declared_tokens.h"

namespace edge {

static Status read_ends(const Value& generation, std::vector<int32_t>* eos) {
  const Value* value = generation.get("eos_token_id");
  if (!value || value->is_null()) return {};
  std::vector<const Value*> ids;
  if (value->is_array()) {
    for (const Value& id : *value) ids.push_back(&id);
  } else {
    ids.push_back(value);
  }
  for (const Value* id : ids) {
    if (!id->is_integer() || id->integer() < 0 || id->integer() > INT32_MAX) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "eos_token_id in generation_config.json is another value, expected an id or a "
                  "list of ids");
    }
    eos->push_back(static_cast<int32_t>(id->integer()));
  }
  return {};
}

// What transformers adds to the tokenizer: declared tokens that it lacks in this form, named ones
// that are in the vocabulary, and named ones that it did not know to be special.
static std::vector<Declared> missing(const Tokenizer::Parts& parts, const ById& declared,
                                     const std::vector<Named>& named,
                                     const std::vector<Named>& extra) {
  std::vector<Declared> fresh;
  const auto renewed = [&](std::string_view text) {
    for (const Declared& token : fresh) {
      if (token.token.content == text) return true;
    }
    return false;
  };
  for (const auto& [id, token] : declared.tokens) {
    const Added* has = parts.added.get(parts.added.id_of(token.token.content));
    if (!has || !(*has == token.whole())) fresh.push_back(token);
  }
  for (const std::vector<Named>* tokens : {&named, &extra}) {
    for (const Named& token : *tokens) {
      const std::string& text = token.token.token.content;
      if (parts.added.id_of(text) >= 0 || renewed(text) || parts.id_of(text) < 0) continue;
      fresh.push_back(token.token);
    }
  }
  for (size_t i = 0; i < parts.added.size(); i++) {
    const Added& token = parts.added.by_id(i).token;
    if (!token.special && names(named, token.content) && !renewed(token.content)) {
      fresh.push_back({token, token.normalized});
    }
  }
  for (Declared& token : fresh) {
    token.token.special = token.token.special || names(named, token.token.content);
  }
  return fresh;
}

static Status check_ids(const Tokenizer::Parts& parts, const ById& declared, const char* where) {
  for (const auto& [id, token] : declared.tokens) {
    const int32_t given = parts.id_of(token.token.content);
    if (given == id) continue;
    return fail(BITNET_EDGE_ARTIFACT,
                "the added token %s has the id %lld in %s, and the tokenizer gives it %d, expected "
                "one id",
                quoted(token.token.content).c_str(), static_cast<long long>(id), where, given);
  }
  return {};
}

// A named token that the vocabulary lacks would get an id that the model lacks.
static Status check_named(const Tokenizer::Parts& parts, const Value& config) {
  for (const char* name : {"bos_token", "eos_token"}) {
    const Value* written = config.get(name);
    Declared token;
    if (!written || written->is_null()) continue;
    const Status status = read_token(*written, "tokenizer_config.json", true, &token);
    if (!status.ok()) return status;
    if (parts.id_of(token.token.content) >= 0) continue;
    return fail(BITNET_EDGE_ARTIFACT,
                "%s in tokenizer_config.json is %s, expected a token of tokenizer.json", name,
                quoted(token.token.content).c_str());
  }
  return {};
}

Status Tokenizer::Parts::read_tokens(const Files& files, const TokenizerClass* known) {
  ById declared;
  Status status;
  if (const Value* list = files.file.get("added_tokens")) {
    status = known ? read_list(*list, &declared, nullptr, bpe)
                   : read_list(*list, &declared, &added, bpe);
  }
  if (status.ok() && !known) status = check_ids(*this, declared, "tokenizer.json");
  Json defaults;
  if (status.ok()) status = parse(known ? known->names : "{}", "a class", &defaults);
  std::vector<Named> named, extra;
  if (status.ok()) status = read_named(files, defaults.root(), &named, &extra);
  if (status.ok()) status = read_declared(files, named, extra, &declared);
  if (!status.ok()) return status;
  for (const Declared& token : missing(*this, declared, named, extra)) {
    if (status.ok()) status = added.add(token.whole(), bpe.vocabulary());
  }
  if (status.ok()) status = check_ids(*this, declared, "the files beside tokenizer.json");
  if (status.ok()) status = check_named(*this, files.config);
  for (const Named& token : named) {
    const int32_t id = id_of(token.token.token.content);
    if (token.name == "eos_token" && id >= 0) eos.push_back(id);
  }
  return status.ok() ? read_ends(files.generation, &eos) : status;
}

}  // namespace edge
