// The rules are those of bitnet_onnx/text/backend.py.
#include "text/declared_tokens.h"

#include "words/keys.h"

namespace edge {

constexpr char kNames[][11] = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};

namespace {

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

bool names(const std::vector<Named>& tokens, std::string_view text) {
  for (const Named& named : tokens) {
    if (named.token.token.content == text) return true;
  }
  return false;
}

Status read_token(const Value& written, const char* where, bool special, Declared* out) {
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
static Status read_single(const Merged& config, std::vector<Named>* out) {
  const auto add = [&](std::string_view name, const Value& value, const Value* flags) {
    Named named{std::string(name), {}};
    Status status = read_token(value, "tokenizer_config.json", true, &named.token);
    if (status.ok() && value.is_object() && flags != &value) {
      const std::string content = named.token.token.content;
      named.token = Declared();
      named.token.token.content = content;
      named.token.token.special = true;
    }
    out->push_back(std::move(named));
    return status;
  };
  const auto known = [&](std::string_view name) {
    for (const Named& one : *out) {
      if (one.name == name) return true;
    }
    return false;
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

Status read_named(const Tokenizer::Files& files, const Value& defaults, std::vector<Named>* named,
                  std::vector<Named>* extra) {
  Merged config;
  config.add(defaults);
  config.add(files.config);
  if (!files.config.get("added_tokens_decoder")) config.add(files.map);
  const Status status = read_single(config, named);
  return status.ok() ? read_extra(config, extra) : status;
}

// From the end, as files list them in order.
size_t ById::place_of(int64_t id) const {
  size_t place = tokens.size();
  while (place > 0 && tokens[place - 1].first >= id) place--;
  return place;
}

bool ById::has(int64_t id) const {
  const size_t place = place_of(id);
  return place < tokens.size() && tokens[place].first == id;
}

Status ById::put(int64_t id, const Declared& token) {
  if (tokens.size() >= AddedTokens::kMaxTokens) {
    return fail(BITNET_EDGE_ARTIFACT, "the tokenizer declares more than %zu tokens, expected fewer",
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

static Status wrong_id(const char* where) {
  return fail(BITNET_EDGE_ARTIFACT, "%s is not readable, expected added tokens by their ids",
              where);
}

Status read_list(const Value& list, ById* declared, AddedTokens* added, const Bpe& bpe) {
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

Status read_declared(const Tokenizer::Files& files, const std::vector<Named>& named,
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

}  // namespace edge
