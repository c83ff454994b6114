// The added tokens of a folder as transformers has them: those of tokenizer.json, those that its
// other files declare, and those that they name. The rules are those of
// bitnet_onnx/text/backend.py.
#include <algorithm>
#include <optional>

#include "text/tokenizer_parts.h"
#include "words/keys.h"

namespace edge {

constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                  "pad_token", "cls_token", "mask_token"};

namespace {

// A token as a file writes it. Where `normalized` is missing, it follows from `special`.
struct Declared {
  Added token;
  std::optional<bool> normalized;

  Added whole() const {
    Added out = token;
    out.normalized = normalized.value_or(!token.special);
    return out;
  }
};

struct Named {
  std::string name;
  Declared token;
};

// Later objects replace members of those before, and a place stays, as in Python's dict.
struct Merged {
  std::vector<std::pair<std::string_view, const Value*>> members;

  void add(const Value& object) {
    for (Value::Iterator member = object.begin(); member != object.end(); ++member) {
      bool found = false;
      for (auto& known : members) {
        if (known.first != member.key()) continue;
        known.second = &*member;
        found = true;
      }
      if (!found && object.is_object()) members.push_back({member.key(), &*member});
    }
  }
  const Value* get(std::string_view key) const {
    for (const auto& member : members) {
      if (member.first == key) return member.second->is_null() ? nullptr : member.second;
    }
    return nullptr;
  }
};

}  // namespace

static Status read_token(const Value& written, const char* where, bool special, Declared* out) {
  const Value* content = written.is_object() ? written.get("content") : &written;
  if (!content || !content->is_string()) {
    return fail(BITNET_EDGE_ARTIFACT, "%s holds a special token of another form, expected a text",
                where);
  }
  out->token.content = content->string();
  out->token.special = special;
  const std::pair<const char*, bool*> kFlags[] = {{"single_word", &out->token.single_word},
                                                  {"lstrip", &out->token.lstrip},
                                                  {"rstrip", &out->token.rstrip},
                                                  {"normalized", nullptr},
                                                  {"special", &out->token.special}};
  for (const auto& flag : kFlags) {
    const Value* value = written.get(flag.first);
    if (!value) continue;
    if (!value->is_bool()) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "%s holds the token %s with another %s than true or false, expected one of them",
                  where, quoted(out->token.content).c_str(), flag.first);
    }
    if (flag.second) {
      *flag.second = value->boolean();
    } else {
      out->normalized = value->boolean();
    }
  }
  return {};
}

// The tokens that a configuration names, such as bos_token and image_token, first ones first.
static Status read_named(const Merged& config, std::vector<Named>* out) {
  const auto add = [&](std::string_view name, const Value& value, const Value* flags) {
    Named named{std::string(name), {}};
    Status status = read_token(value, "tokenizer_config.json", true, &named.token);
    if (status.ok() && value.is_object() && flags != &value) {
      named.token = {{named.token.token.content, false, false, false, false, true}, {}};
    }
    out->push_back(std::move(named));
    return status;
  };
  const auto known = [&](std::string_view name) {
    return std::any_of(out->begin(), out->end(), [&](const Named& n) { return n.name == name; });
  };
  Status status;
  for (const char* name : kNames) {
    const Value* value = config.get(name);
    if (value && status.ok()) status = add(name, *value, value);
  }
  constexpr std::string_view kEnd = "_token";
  for (const auto& [name, value] : config.members) {
    const bool ends = name.size() >= kEnd.size() && name.substr(name.size() - kEnd.size()) == kEnd;
    if (!status.ok() || !ends || known(name)) continue;
    if (value->is_string() || value->is_object()) status = add(name, *value, value);
  }
  const Value* extra = config.get("extra_special_tokens");
  if (!extra || !extra->is_object()) return status;
  for (Value::Iterator token = extra->begin(); token != extra->end(); ++token) {
    if (!status.ok()) break;
    if (known(token.key())) {
      return fail(BITNET_EDGE_UNSUPPORTED,
                  "extra_special_tokens of tokenizer_config.json names %s once more, expected new "
                  "names",
                  quoted(token.key()).c_str());
    }
    status = add(token.key(), *token, nullptr);
  }
  return status;
}

static Status read_extra(const Merged& config, std::vector<Named>* out) {
  const char* name = "extra_special_tokens";
  const Value* extra = config.get(name);
  if (!truthy(extra)) extra = config.get("additional_special_tokens");
  if (!truthy(extra) || extra->is_object()) return {};
  if (!extra->is_array()) {
    return fail(BITNET_EDGE_ARTIFACT,
                "%s of tokenizer_config.json is another value, expected a list or an object of "
                "tokens",
                name);
  }
  Status status;
  for (const Value& token : *extra) {
    out->push_back({name, {}});
    if (status.ok()) status = read_token(token, name, true, &out->back().token);
  }
  return status;
}

// Declared tokens by id; of two with one id, the later one counts.
namespace {
struct ById {
  std::vector<std::pair<int64_t, Declared>> tokens;  // in the order of ids

  size_t place_of(int64_t id) const {  // from the end, as files list them in order
    size_t place = tokens.size();
    while (place > 0 && tokens[place - 1].first >= id) place--;
    return place;
  }
  bool has(int64_t id) const {
    const size_t place = place_of(id);
    return place < tokens.size() && tokens[place].first == id;
  }
  Status put(int64_t id, const Declared& token) {
    if (tokens.size() >= AddedTokens::kMaxTokens) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "the tokenizer declares more than %zu tokens, expected fewer",
                  AddedTokens::kMaxTokens);
    }
    const size_t place = place_of(id);
    if (has(id)) {
      tokens[place].second = token;
      return {};
    }
    tokens.push_back({id, token});
    for (size_t i = tokens.size() - 1; i > place; i--) std::swap(tokens[i], tokens[i - 1]);
    return {};
  }
};
}  // namespace

static Status wrong_id(const char* where) {
  return fail(BITNET_EDGE_ARTIFACT, "%s is not readable, expected added tokens by their ids",
              where);
}

// "added_tokens" of tokenizer.json, with every flag. They are declared; `added`, where it is given,
// gets them in the order of the list.
static Status read_list(const Value& list, ById* declared, AddedTokens* added, const Bpe& bpe) {
  for (const Value& entry : list) {
    const Value* id = entry.get("id");
    if (!id || !id->is_integer() || id->integer() < 0) return wrong_id("tokenizer.json");
    Status status =
        only_keys(entry, "an added token",
                  {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    if (status.ok() && entry.size() != 7) status = wrong_id("tokenizer.json");
    Declared token;
    if (status.ok()) status = read_token(entry, "tokenizer.json", false, &token);
    if (status.ok() && added) status = added->add(token.whole(), bpe.vocabulary());
    if (status.ok()) status = declared->put(id->integer(), token);
    if (!status.ok()) return status;
  }
  return {};
}

// "added_tokens_decoder" of tokenizer_config.json: {"id": token}.
static Status read_decoder(const Value& decoder, ById* out) {
  if (!decoder.is_object()) return wrong_id("added_tokens_decoder");
  Status status;
  for (Value::Iterator entry = decoder.begin(); entry != decoder.end(); ++entry) {
    int64_t id = 0;
    if (entry.key().empty() || entry.key().size() > 9) return wrong_id("added_tokens_decoder");
    for (const char c : entry.key()) {
      if (c < '0' || c > '9') return wrong_id("added_tokens_decoder");
      id = id * 10 + (c - '0');
    }
    Declared token;
    if (status.ok()) status = read_token(*entry, "added_tokens_decoder", false, &token);
    if (status.ok()) status = out->put(id, token);
  }
  return status;
}

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

static bool names(const std::vector<Named>& tokens, std::string_view text) {
  return std::any_of(tokens.begin(), tokens.end(),
                     [&](const Named& named) { return named.token.token.content == text; });
}

// "added_tokens_decoder" declares all tokens; else added_tokens.json and tokenizer.json do.
static Status read_declared(const Tokenizer::Files& files, const std::vector<Named>& named,
                            const std::vector<Named>& extra, ById* declared) {
  if (const Value* decoder = files.config.get("added_tokens_decoder")) {
    declared->tokens.clear();
    return read_decoder(*decoder, declared);
  }
  for (Value::Iterator entry = files.added.begin(); entry != files.added.end(); ++entry) {
    if (!entry->is_integer()) return wrong_id("added_tokens.json");
    if (declared->has(entry->integer())) continue;  // what tokenizer.json says counts more
    Declared token;
    token.token.content = std::string(entry.key());
    token.token.special = names(named, entry.key()) || names(extra, entry.key());
    if (const Status status = declared->put(entry->integer(), token); !status.ok()) return status;
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
    return std::any_of(fresh.begin(), fresh.end(),
                       [&](const Declared& token) { return token.token.content == text; });
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
  Merged config;
  config.add(defaults.root());
  config.add(files.config);
  if (!files.config.get("added_tokens_decoder")) config.add(files.map);
  std::vector<Named> named, extra;
  if (status.ok()) status = read_named(config, &named);
  if (status.ok()) status = read_extra(config, &extra);
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
