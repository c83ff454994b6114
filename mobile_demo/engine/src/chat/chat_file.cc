#include "chat/chat_file.h"

#include "base/file.h"
#include "base/json.h"
#include "chat/date.h"

namespace edge {
namespace {

constexpr char kName[] = "chat.json";
constexpr int64_t kVersion = 1;
constexpr char kRole[] = "strip_left strip_right cut refused blank";

// Reads one field after another; the first failure stays.
class ChatReader {
 public:
  explicit ChatReader(ChatFile* file) : file_(file) {}
  Status status;

  void read(const Value& root) {
    ids(root.get("eos_token_ids"), "eos_token_ids", &file_->eos_token_ids);
    const Value* reason = root.get("unsupported");
    if (!object(&root, kName, "format_version eos_token_ids",
                reason ? "unsupported" : "conversation")) {
      return;
    }
    if (!reason) return conversation(root.get("conversation"));
    text(reason, "unsupported", &file_->unsupported);
    expect(!file_->unsupported.empty(), "unsupported", "a reason");
  }

 private:
  void conversation(const Value* value) {
    if (!object(value, "conversation", "system user assistant prompt")) return;
    const Value* system = value->get("system");
    file_->takes_system = !system->is_null();
    if (file_->takes_system && role(system, "system", "before after", &file_->system)) {
      parts(system, "before", kBeforeSystem);
      parts(system, "after", kAfterSystem);
    }
    const Value* user = value->get("user");
    if (role(user, "user", "before", &file_->user)) parts(user, "before", kBeforeUser);
    const Value* assistant = value->get("assistant");
    if (role(assistant, "assistant", "before after tokens", &file_->assistant)) {
      parts(assistant, "before", kBeforeAssistant);
      parts(assistant, "after", kAfterAssistant);
      answer_tokens(assistant->get("tokens"));
    }
    parts(value, "prompt", kPrompt);
  }

  bool role(const Value* value, const char* name, const char* further, ChatRole* role) {
    if (!object(value, name, kRole, further)) return false;
    strip(value, &role->strip);
    const Value* blank = value->get("blank");
    expect(blank->is_bool(), "blank", "true or false");
    role->blank = blank->boolean();
    const Value* cut = value->get("cut");
    if (!cut->is_null() && object(cut, "cut", "after strip_left strip_right")) {
      text(cut->get("after"), "after", &role->cut);
      expect(!role->cut.empty(), "after", "a text that is not empty");
      strip(cut, &role->behind_cut);
    }
    const Value* refused = value->get("refused");
    if (expect(refused->is_array(), "refused", "a list of strings")) {
      for (const Value& item : *refused) {
        role->refused.emplace_back();
        text(&item, "refused", &role->refused.back());
        expect(!role->refused.back().empty(), "refused", "texts that are not empty");
      }
    }
    return true;
  }

  void strip(const Value* value, ChatStrip* strip) {
    text(value->get("strip_left"), "strip_left", &strip->left);
    text(value->get("strip_right"), "strip_right", &strip->right);
  }

  void parts(const Value* owner, const char* name, ChatPlace place) {
    const Value* value = owner->get(name);
    if (!expect(value->is_array(), name, "a list of parts")) return;
    for (const Value& item : *value) {
      ChatPart& part = added(place, item.get("token")  ? ChatPart::kToken
                                    : item.get("date") ? ChatPart::kDate
                                                       : ChatPart::kText);
      static const char* const kFields[] = {"text", "token", "date"};
      const char* field = kFields[part.kind];
      const bool is_token = part.kind == ChatPart::kToken;
      if (!object(&item, name, field, is_token ? "id" : "")) return;
      text(item.get(field), field, &part.text);
      if (is_token) id(item.get("id"), "id", &part.id);
      if (part.kind == ChatPart::kDate) {
        expect(known_date(part.text), "date", "a form of %d %b %B %Y %y %m %a %A %j");
      }
    }
  }

  void answer_tokens(const Value* value) {
    if (!expect(value->is_object(), "tokens", "an object of ids")) return;
    for (auto at = value->begin(); at != value->end(); ++at) {
      ChatPart& part = added(kAnswerTokens, ChatPart::kToken);
      part.text = at.key();
      id(&*at, "tokens", &part.id);
      expect(!part.text.empty(), "tokens", "tokens that are not empty");
    }
  }

  ChatPart& added(ChatPlace place, ChatPart::Kind kind) {
    ChatParts& parts = file_->parts[place];
    parts.emplace_back();
    parts.back().kind = kind;
    return parts.back();
  }

  // An object with these fields, which blanks separate, and no other.
  bool object(const Value* value, const char* name, const char* fields, const char* further = "") {
    if (!expect(value && value->is_object(), name, "an object")) return false;
    size_t count = 0;
    for (std::string_view rest : {std::string_view(fields), std::string_view(further)}) {
      while (!rest.empty()) {
        const std::string_view field = rest.substr(0, rest.find(' '));
        if (!expect(value->get(field), std::string(field).c_str(), "a value")) return false;
        count++;
        rest.remove_prefix(field.size() < rest.size() ? field.size() + 1 : field.size());
      }
    }
    return expect(value->size() == count, name, "the fields of version 1 alone");
  }

  void text(const Value* value, const char* name, std::string* out) {
    if (expect(value->is_string(), name, "a string")) *out = value->text();
  }

  void ids(const Value* value, const char* name, std::vector<int32_t>* out) {
    if (!expect(value && value->is_array(), name, "a list of ids")) return;
    for (const Value& item : *value) {
      out->push_back(0);
      id(&item, name, &out->back());
    }
  }

  void id(const Value* value, const char* name, int32_t* out) {
    const int64_t number = value->is_integer() ? value->integer() : -1;
    if (expect(number >= 0 && number <= INT32_MAX, name, "an id")) {
      *out = static_cast<int32_t>(number);
    }
  }

  bool expect(bool good, const char* name, const char* what) {
    if (!good && status.ok()) {
      status =
          fail(BITNET_EDGE_ARTIFACT,
               "%s: %s is missing or of another form, expected %s; export the checkpoint again",
               kName, name, what);
    }
    return good && status.ok();
  }

  ChatFile* file_;
};

}  // namespace

Status read_chat_file(const std::string& folder, ChatFile* file) {
  if (!file_exists(join(folder, kName))) {
    return fail(BITNET_EDGE_UNSUPPORTED,
                "the artifact has no %s, which bitnet-onnx export writes for checkpoints with a "
                "tokenizer; export the checkpoint again",
                kName);
  }
  Json json;
  Status status = read_json(folder, kName, &json);
  if (!status.ok()) return status;
  const Value* version = json.get("format_version");
  if (!version || !version->is_integer() || version->integer() != kVersion) {
    return fail(BITNET_EDGE_UNSUPPORTED,
                "%s: format_version is not 1, expected 1; update the app or export the checkpoint "
                "again",
                kName);
  }
  ChatReader reader(file);
  reader.read(json.root());
  return std::move(reader.status);
}

}  // namespace edge
