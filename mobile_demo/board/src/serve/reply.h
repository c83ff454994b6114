// What a client gets: whole answers, pieces of one, and refusals, in OpenAI's form.
#pragma once

#include <string>
#include <string_view>

#include "bitnet_edge.h"
#include "outcome.h"

namespace board {

// A client that takes what it is sent, within a number of seconds that it may keep us waiting.
class Client {
 public:
  Client(int descriptor, bool head_only) : descriptor_(descriptor), head_only_(head_only) {}
  bool send(std::string_view bytes);   // false: it is gone, or too slow
  bool reply(std::string_view whole);  // sends a response, of which HEAD gets the head alone
  bool is_gone() const;

 private:
  int descriptor_;
  bool head_only_;
  double patience_ = 20;
  bool gone_ = false;
};

std::string response(int status, std::string_view content_type, std::string_view body);
// field and code are null in the answer where they are "".
std::string json_error(int status, const std::string& sentence, const std::string& field,
                       const char* code = "");
std::string refusal(int status, const std::string& sentence, const std::string& field,
                    const char* code = "");
extern const char kStreamHead[];

// One answer's number, time and model, which all of its parts repeat.
struct Label {
  std::string id, model;
  long long created;
};

std::string completion(const Label& label, const std::string& text, const bitnet_edge_stats& stats);
std::string first_chunk(const Label& label);
std::string chunk(const Label& label, std::string_view piece);
std::string last_chunks(const Label& label, const bitnet_edge_stats& stats, bool include_usage);
std::string models(const std::string& model);
std::string one_model(const std::string& model);

}  // namespace board
