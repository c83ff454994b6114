#include "words/keys.h"

namespace edge {

std::string_view type_of(const Value& part) {
  const Value* type = part.get("type");
  return type && type->is_string() ? type->text() : part.is_null() ? "null" : "of no type";
}

Status only_keys(const Value& part, const char* where,
                 std::initializer_list<std::string_view> keys) {
  for (Value::Iterator member = part.begin(); member != part.end(); ++member) {
    bool known = false;
    for (const std::string_view key : keys) known = known || key == member.key();
    if (!known) {
      return fail(BITNET_EDGE_UNSUPPORTED,
                  "%s of tokenizer.json has %s, which this engine does not know, expected keys "
                  "that it knows",
                  where, quoted(member.key()).c_str());
    }
  }
  return {};
}

Status read_flag(const Value& part, const char* key, bool* flag) {
  const Value* value = part.get(key);
  if (!value || !value->is_bool()) {
    return fail(BITNET_EDGE_ARTIFACT,
                "tokenizer.json has a part of type %s whose %s is missing or another value, "
                "expected true or false",
                quoted(type_of(part)).c_str(), key);
  }
  *flag = value->boolean();
  return {};
}

bool truthy(const Value* value) {
  if (!value) return false;
  switch (value->kind()) {
    case Value::kTrue:
      return true;
    case Value::kNumber:
      return value->number() != 0;
    case Value::kString:
      return !value->text().empty();
    default:
      return value->size() > 0;
  }
}

}  // namespace edge
