#include "chat/chat_file.h"

#include <initializer_list>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "chat/date.h"

namespace edge {
namespace {

constexpr char kName[] = "chat.json";
constexpr int64_t kVersion = 1;

// Reads the fields of one object after another; the first failure stays.
class Reader {
 public:
  Status status;

  // An object with these fields and no other.
  const Value* object(const Value* value, const char* name,
                      std::initializer_list<const char*> fields) {
    if (!expect(value && value->is_object(), name, "an object")) return nullptr;
    for (const char* field : fields) {
      if (!expect(value->get(field), field, "a value")) return nullptr;
    }
    if (!expect(value->size() == fields.size(), name, "the fields of version 1 alone")) {
      return nullptr;
    }
    return value;
  }

  std::string text(const Value* value, const char* name) {
    if (!expect(value && value->is_string(), name, "a string")) return {};
    return value->string();
  }

  bool flag(const Value* value, const char* name) {
    return expect(value && value->is_bool(), name, "true or false") && value->boolean();
  }

  int32_t id(const Value* value, const char* name) {
    const bool good =
        value && value->is_integer() && value->integer() >= 0 && value->integer() <= INT32_MAX;
    return expect(good, name, "an id") ? static_cast<int32_t>(value->integer()) : 0;
  }

  std::vector<int32_t> ids(const Value* value, const char* name) {
    std::vector<int32_t> found;
    if (!expect(value && value->is_array(), name, "a list of ids")) return found;
    for (const Value& item : *value) found.push_back(id(&item, name));
    return found;
  }

  ChatStrip strip(const Value& object) {
    return {characters(object.get("strip_left"), "strip_left"),
            characters(object.get("strip_right"), "strip_right")};
  }

  ChatRole role(const Value& object) {
    ChatRole role;
    role.strip = strip(object);
    role.blank = flag(object.get("blank"), "blank");
    if (const Value* cut = object.get("cut"); cut && !cut->is_null()) {
      if (this->object(cut, "cut", {"after", "strip_left", "strip_right"})) {
        role.cut = text(cut->get("after"), "after");
        role.behind_cut = strip(*cut);
        expect(!role.cut.empty(), "after", "a text that is not empty");
      }
    }
    const Value* refused = object.get("refused");
    if (!expect(refused && refused->is_array(), "refused", "a list of strings")) return role;
    for (const Value& item : *refused) {
      role.refused.push_back(text(&item, "refused"));
      expect(!role.refused.back().empty(), "refused", "texts that are not empty");
    }
    return role;
  }

  ChatParts parts(const Value* value, const char* name) {
    ChatParts found;
    if (!expect(value && value->is_array(), name, "a list of parts")) return found;
    for (const Value& item : *value) {
      if (item.get("token")) {
        if (!object(&item, name, {"token", "id"})) break;
        found.push_back(token(item.get("token"), item.get("id")));
      } else if (item.get("date")) {
        if (!object(&item, name, {"date"})) break;
        found.push_back({ChatPart::kDate, text(item.get("date"), "date"), -1});
        expect(known_date(found.back().text), "date", "a form of %d %b %B %Y %y %m %a %A %j");
      } else {
        if (!object(&item, name, {"text"})) break;
        found.push_back({ChatPart::kText, text(item.get("text"), "text"), -1});
      }
    }
    return found;
  }

  ChatParts answer_tokens(const Value* value) {
    ChatParts found;
    if (!expect(value && value->is_object(), "tokens", "an object of ids")) return found;
    for (auto at = value->begin(); at != value->end(); ++at) {
      found.push_back({ChatPart::kToken, std::string(at.key()), id(&*at, "tokens")});
      expect(!at.key().empty(), "tokens", "tokens that are not empty");
    }
    return found;
  }

  bool expect(bool good, const char* name, const char* what) {
    if (!good && status.ok()) {
      status = fail(BITNET_EDGE_ARTIFACT,
                    "%s: %s is missing or not what it should be, expected %s; export the "
                    "checkpoint again",
                    kName, name, what);
    }
    return good && status.ok();
  }

 private:
  ChatPart token(const Value* written, const Value* number) {
    return {ChatPart::kToken, text(written, "token"), id(number, "id")};
  }

  std::vector<std::string> characters(const Value* value, const char* name) {
    const std::string all = text(value, name);
    std::vector<std::string> found;
    for (size_t place = 0; place < all.size();) {
      const size_t start = place;
      next_code_point(all, &place);
      found.push_back(all.substr(start, place - start));
    }
    return found;
  }
};

void read_conversation(const Value* value, Reader* reader, ChatFile* file) {
  const char* const name = "conversation";
  if (!reader->object(value, name, {"system", "user", "assistant", "prompt"})) return;
  const Value* system = value->get("system");
  file->takes_system = !system->is_null();
  if (file->takes_system) {
    if (!reader->object(
            system, "system",
            {"strip_left", "strip_right", "cut", "refused", "blank", "before", "after"})) {
      return;
    }
    file->system = reader->role(*system);
    file->before_system = reader->parts(system->get("before"), "before");
    file->after_system = reader->parts(system->get("after"), "after");
  }
  const Value* user =
      reader->object(value->get("user"), "user",
                     {"strip_left", "strip_right", "cut", "refused", "blank", "before"});
  if (!user) return;
  file->user = reader->role(*user);
  file->before_user = reader->parts(user->get("before"), "before");
  const Value* assistant = reader->object(
      value->get("assistant"), "assistant",
      {"strip_left", "strip_right", "cut", "refused", "blank", "before", "after", "tokens"});
  if (!assistant) return;
  file->assistant = reader->role(*assistant);
  file->before_assistant = reader->parts(assistant->get("before"), "before");
  file->after_assistant = reader->parts(assistant->get("after"), "after");
  file->answer_tokens = reader->answer_tokens(assistant->get("tokens"));
  file->prompt = reader->parts(value->get("prompt"), "prompt");
}

}  // namespace

Status read_chat_file(const std::string& folder, ChatFile* file) {
  if (!file_exists(join(folder, kName))) {
    return fail(BITNET_EDGE_UNSUPPORTED,
                "the artifact has no chat.json, which bitnet-onnx export writes for checkpoints "
                "with a tokenizer; export the checkpoint again");
  }
  Json json;
  Status status = read_json(folder, kName, &json);
  if (!status.ok()) return status;
  const Value* version = json.get("format_version");
  if (!version || !version->is_integer() || version->integer() != kVersion) {
    return fail(BITNET_EDGE_UNSUPPORTED,
                "%s: format_version is not 1, expected 1; update the app or export the "
                "checkpoint again",
                kName);
  }
  Reader reader;
  ChatFile found;
  found.eos_token_ids = reader.ids(json.get("eos_token_ids"), "eos_token_ids");
  if (const Value* reason = json.get("unsupported")) {
    reader.object(&json.root(), kName, {"format_version", "eos_token_ids", "unsupported"});
    found.unsupported = reader.text(reason, "unsupported");
    reader.expect(!found.unsupported.empty(), "unsupported", "a reason");
  } else {
    reader.object(&json.root(), kName, {"format_version", "eos_token_ids", "conversation"});
    read_conversation(json.get("conversation"), &reader, &found);
  }
  if (reader.status.ok()) *file = std::move(found);
  return reader.status;
}

}  // namespace edge
