// A parsed JSON document. Its values lie in one block, strings in another, so a vocabulary of a
// hundred thousand tokens is read quickly and takes little memory.
#pragma once

#include <stdint.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edge {

class Json;

// One value. Values live in their document; copy none.
class Value {
 public:
  enum Kind : uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == kNull; }
  bool is_bool() const { return kind_ == kTrue || kind_ == kFalse; }
  bool is_number() const { return kind_ == kNumber; }
  bool is_integer() const { return kind_ == kNumber && whole_; }  // written as one, fits int64
  bool is_string() const { return kind_ == kString; }
  bool is_array() const { return kind_ == kArray; }
  bool is_object() const { return kind_ == kObject; }

  // Each is for its kind only; else false, 0 and an empty text.
  bool boolean() const { return kind_ == kTrue; }
  int64_t integer() const { return is_integer() ? number_.integer : 0; }
  double number() const { return is_number() ? number_.number : 0; }  // correctly rounded
  std::string_view text() const {                                     // UTF-8; may hold NUL
    return is_string() ? std::string_view(text_.data, text_.size) : std::string_view();
  }
  std::string string() const { return std::string(text()); }

  // Members of an object or items of an array, in order: for (const Value& item : value).
  class Iterator {
   public:
    Iterator(const Value* at, bool members) : at_(at), members_(members) {}
    const Value& operator*() const { return members_ ? at_[1] : *at_; }
    const Value* operator->() const { return &**this; }
    std::string_view key() const { return at_->text(); }  // of a member
    Iterator& operator++() {
      at_ = (**this).after();
      return *this;
    }
    bool operator!=(const Iterator& other) const { return at_ != other.at_; }

   private:
    const Value* at_;
    bool members_;
  };
  Iterator begin() const { return Iterator(this + 1, is_object()); }
  Iterator end() const { return Iterator(after(), is_object()); }
  size_t size() const { return is_array() || is_object() ? children_.count : 0; }

  // A member of an object; null where it has none of that name, or is no object.
  const Value* get(std::string_view key) const;

  const Value* after() const { return this + 1 + (size_is_span() ? children_.span : 0); }

 private:
  friend class JsonParser;
  friend class Json;
  bool size_is_span() const { return is_array() || is_object(); }

  Kind kind_ = kNull;
  bool whole_ = false;
  union {
    struct {
      int64_t integer;
      double number;
    } number_;
    struct {
      const char* data;
      size_t size;
    } text_;
    struct {
      uint32_t count, span;  // span: how many values lie inside
    } children_;
  };

 public:
  Value() : number_{0, 0} {}
};

// JSON as RFC 8259 has it, and stricter: no duplicate keys, no lone surrogates, at most 64 levels.
class Json {
 public:
  static constexpr int kMaxDepth = 64;
  static constexpr size_t kMaxBytes = size_t{1} << 26;
  static constexpr size_t kMaxValues = size_t{1} << 23;

  Json() = default;
  Json(const Json&) = delete;
  Json& operator=(const Json&) = delete;

  // The outermost value; null before anything was parsed.
  const Value& root() const { return values_.empty() ? kNothing : values_[0]; }
  const Value* get(std::string_view key) const { return root().get(key); }

 private:
  friend class JsonParser;
  static const Value kNothing;
  std::vector<Value> values_;
  std::unique_ptr<char[]> texts_;
};

// Names line and column of what is wrong, with BITNET_EDGE_ARTIFACT; `name` begins the sentence.
Status parse(std::string_view text, const char* name, Json* out);

// Reads and parses a file of a folder, which must hold an object.
Status read_json(const std::string& folder, const char* name, Json* out);

}  // namespace edge
