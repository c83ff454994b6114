#include "base/json.h"

#include "base/file.h"

namespace edge {

const Value Json::kNothing;

const Value* Value::get(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (Iterator member = begin(); member != end(); ++member) {
    if (member.key() == key) return &*member;
  }
  return nullptr;
}

Status read_json(const std::string& folder, const char* name, Json* out) {
  std::string content;
  const std::string path = join(folder, name);
  if (const Status status = read_file(path, Json::kMaxBytes, &content); !status.ok()) {
    return status;
  }
  if (const Status status = parse(content, path.c_str(), out); !status.ok()) return status;
  if (out->root().is_object()) return {};
  return fail(BITNET_EDGE_ARTIFACT, "%s holds another JSON value, expected an object",
              path.c_str());
}

}  // namespace edge
