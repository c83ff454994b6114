#include "serve/completions.h"

#include <math.h>

#include "base/json.h"

namespace board {

using edge::Value;

constexpr size_t kShown = 80;  // bytes of a name that an answer repeats

namespace {

class Reader {
 public:
  Reader(Completion* completion, std::string* field) : made_(*completion), field_(*field) {}

  Outcome read(const Value& root) {
    if (!root.is_object()) return refused("the body is another value, expected an object");
    for (auto at = root.begin(); at != root.end(); ++at) {
      field_ = at.key().substr(0, kShown);
      if ((*at).is_null()) continue;  // as if it were not given
      const Outcome taken = member(at.key(), *at);
      if (!taken.ok()) return taken;
    }
    field_ = "messages";
    if (!messages_) return wrong("is missing, expected a list");
    field_ = "stream_options";
    if (made_.include_usage && !made_.stream) return wrong("acts only with stream, expected both");
    field_.clear();
    return {};
  }

 private:
  Outcome wrong(const char* rest) const { return refused(field_ + " " + rest); }

  Outcome member(std::string_view name, const Value& value) {
    Changes& changes = made_.changes;
    if (name == "messages") return messages(value);
    if (name == "model") return text(value, &made_.model.emplace());
    if (name == "stream") return boolean(value, &made_.stream);
    if (name == "stream_options") return stream_options(value);
    if (name == "max_tokens" || name == "max_completion_tokens") return limit(value);
    if (name == "temperature") return number(value, &changes.temperature);
    if (name == "top_p") return number(value, &changes.top_p);
    if (name == "min_p") return number(value, &changes.min_p);
    if (name == "repetition_penalty") return number(value, &changes.repetition_penalty);
    if (name == "top_k") return integer(value, 0, &changes.top_k.emplace());
    if (name == "seed") return seed(value);
    if (name == "stop") return stop(value);
    return without_effect(name, value);
  }

  // Fields that many clients send, with the value that asks for nothing.
  Outcome without_effect(std::string_view name, const Value& value) const {
    if (name == "n") {
      return value.is_integer() && value.integer() == 1 ? Outcome()
                                                        : wrong("is another value, expected 1");
    }
    if (name == "frequency_penalty" || name == "presence_penalty") {
      return value.is_number() && value.number() == 0 ? Outcome()
                                                      : wrong("is not supported, expected 0");
    }
    if (name == "logprobs") {
      return value.kind() == Value::kFalse ? Outcome() : wrong("is not supported, expected false");
    }
    return wrong("is not supported, expected the request without it");
  }

  Outcome text(const Value& value, std::string* out) const {
    *out = value.string();
    return value.is_string() ? Outcome() : wrong("is not a text, expected one");
  }

  Outcome boolean(const Value& value, bool* out) const {
    *out = value.boolean();
    return value.is_bool() ? Outcome() : wrong("is another value, expected true or false");
  }

  Outcome integer(const Value& value, int32_t least, int32_t* out) const {
    const int64_t found = value.integer();
    if (!value.is_integer() || found < least || found > INT32_MAX)
      return wrong(least == 0 ? "is another value, expected an integer from 0"
                              : "is another value, expected an integer from 1");
    *out = static_cast<int32_t>(found);
    return {};
  }

  Outcome limit(const Value& value) {
    if (made_.changes.max_new_tokens) return wrong("is a second limit, expected one");
    return integer(value, 1, &made_.changes.max_new_tokens.emplace());
  }

  Outcome number(const Value& value, std::optional<double>* out) const {
    *out = value.number();
    return value.is_number() && isfinite(**out) ? Outcome()
                                                : wrong("is not a number, expected one");
  }

  Outcome seed(const Value& value) {
    if (!value.is_integer() || value.integer() < 0)
      return wrong("is another value, expected an integer from 0 to 9223372036854775807");
    made_.changes.seed = static_cast<uint64_t>(value.integer());
    return {};
  }

  Outcome stream_options(const Value& value) {
    if (!value.is_object()) return wrong("is another value, expected an object");
    for (auto at = value.begin(); at != value.end(); ++at) {
      field_ = "stream_options." + std::string(at.key().substr(0, kShown));
      if (at.key() != "include_usage") return wrong("is not supported, expected none");
      const Outcome taken = boolean(*at, &made_.include_usage);
      if (!taken.ok()) return taken;
    }
    return {};
  }

  Outcome stop(const Value& value) {
    if (value.is_array() && value.size() > 16) return wrong("holds more than 16 texts");
    if (value.is_array()) {
      for (const Value& item : value) {
        const Outcome taken = one_stop(item);
        if (!taken.ok()) return taken;
      }
      return {};
    }
    return one_stop(value);
  }

  Outcome one_stop(const Value& value) {
    // The engine takes them as C strings.
    if (value.text().empty() || value.text().find('\0') != std::string_view::npos)
      return wrong("is another value, expected texts that are not empty, without NUL");
    made_.changes.stop_strings.push_back(value.string());
    return {};
  }

  Outcome messages(const Value& value) {
    messages_ = true;
    if (!value.is_array() || value.size() == 0) return wrong("is another value, expected a list");
    std::vector<std::string> texts;
    for (const Value& item : value) {
      const std::string place = format("messages[%zu]", texts.size() + (made_.system ? 1 : 0));
      std::string role, content;
      const Outcome taken = message(item, place, &role, &content);
      if (!taken.ok()) return taken;
      field_ = place + ".role";
      if (role == "system" && texts.empty() && !made_.system) {
        made_.system = content;
      } else if (role != (texts.size() % 2 == 0 ? "user" : "assistant")) {
        return wrong(texts.size() % 2 == 0 ? "is another one, expected user"
                                           : "is another one, expected assistant");
      } else {
        texts.push_back(content);
      }
    }
    field_ = "messages";
    if (texts.size() % 2 == 0)
      return wrong("does not end with one of the user, expected a question");
    for (size_t i = 0; i + 1 < texts.size(); i += 2)
      made_.turns.push_back({texts[i], texts[i + 1]});
    made_.question = texts.back();
    return {};
  }

  Outcome message(const Value& value, const std::string& place, std::string* role,
                  std::string* content) {
    field_ = place;
    if (!value.is_object()) return wrong("is not an object, expected a role and a content");
    bool has_role = false, has_content = false;
    for (auto at = value.begin(); at != value.end(); ++at) {
      field_ = place + "." + std::string(at.key().substr(0, kShown));
      const bool known = at.key() == "role" || at.key() == "content";
      if (!known && (*at).is_null()) continue;
      if (!known) return wrong("is not supported, expected a role and a content only");
      const Outcome taken = text(*at, at.key() == "role" ? role : content);
      if (!taken.ok()) return taken;
      (at.key() == "role" ? has_role : has_content) = true;
    }
    field_ = place;
    return has_role && has_content ? Outcome() : wrong("lacks its role or its content");
  }

  Completion& made_;
  std::string& field_;
  bool messages_ = false;
};

}  // namespace

Outcome parse_completion(std::string_view body, Completion* completion, std::string* field) {
  edge::Json json;
  field->clear();
  const edge::Status parsed = edge::parse(body, "the body", &json);
  if (!parsed.ok()) return refused(parsed.sentence);
  return Reader(completion, field).read(json.root());
}

}  // namespace board
