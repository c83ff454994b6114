// Tokenizer files for tests: a vocabulary of all bytes and a few merges, in a folder of its own.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "words/vocabulary.h"

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|)"
    R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";

inline std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// "vocab" and "merges": the 256 bytes, then the tokens that the merges make.
inline std::string byte_level_model(
    const std::vector<std::pair<std::string, std::string>>& merges) {
  std::string vocab, list;
  int id = 0;
  for (int byte = 0; byte < 256; byte++, id++) {
    vocab += (id ? "," : "") +
             json_text(edge::characters_of_bytes(std::string(1, static_cast<char>(byte)))) + ":" +
             std::to_string(id);
  }
  for (const auto& merge : merges) {
    vocab += "," + json_text(merge.first + merge.second) + ":" + std::to_string(id++);
    list += (list.empty() ? "" : ",") + json_text(merge.first + " " + merge.second);
  }
  return R"({"type":"BPE","vocab":{)" + vocab + R"(},"merges":[)" + list + "]}";
}

// ids from 256 on, with the flags single_word, lstrip, rstrip, normalized, special as letters.
inline std::string added_token(int id, const std::string& content, const std::string& flags) {
  const auto flag = [&](const char* name, char letter) {
    const bool on = flags.find(letter) != std::string::npos;
    return std::string(",\"") + name + "\":" + (on ? "true" : "false");
  };
  return "{\"id\":" + std::to_string(id) + ",\"content\":" + json_text(content) +
         flag("single_word", 'w') + flag("lstrip", 'l') + flag("rstrip", 'r') +
         flag("normalized", 'n') + flag("special", 's') + "}";
}

inline std::string split_by(const std::string& escaped_regex) {
  return R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":")" +
         escaped_regex +
         R"("},"behavior":"Isolated","invert":false},)"
         R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]})";
}

struct TokenizerJson {
  std::string model = byte_level_model({});
  std::string added, normalizer = "null", pre_tokenizer = split_by(kLlama3);
  std::string post_processor = "null", decoder = R"({"type":"ByteLevel"})";

  std::string text() const {
    return R"({"version":"1.0","added_tokens":[)" + added + R"(],"normalizer":)" + normalizer +
           R"(,"pre_tokenizer":)" + pre_tokenizer + R"(,"post_processor":)" + post_processor +
           R"(,"decoder":)" + decoder + R"(,"model":)" + model + "}";
  }
};

// A new folder; its files go with it.
class Folder {
 public:
  Folder() {
    if (const char* place = getenv("TMPDIR")) path_.replace(0, 4, place);
    if (!mkdtemp(&path_[0])) abort();
  }
  ~Folder() {
    for (const std::string& name : names_) unlink((path_ + "/" + name).c_str());
    rmdir(path_.c_str());
  }
  Folder(const Folder&) = delete;
  void write(const std::string& name, const std::string& content) {
    FILE* file = fopen((path_ + "/" + name).c_str(), "wb");
    if (!file || fwrite(content.data(), 1, content.size(), file) != content.size()) abort();
    fclose(file);
    for (const std::string& known : names_) {
      if (known == name) return;
    }
    names_.push_back(name);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/bitnet_edge_XXXXXX";
  std::vector<std::string> names_;
};
