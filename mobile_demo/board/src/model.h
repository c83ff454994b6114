// The engine, with results instead of codes. Knows answers; does not know streams.
#pragma once

#include <stdint.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitnet_edge.h"
#include "changes.h"
#include "outcome.h"

namespace board {

struct Answer {
  std::string text;
  std::vector<int32_t> ids;
  bitnet_edge_stats stats = {};
  bitnet_edge_code code = BITNET_EDGE_OK;  // why there is none
};

class Model {
 public:
  using Piece = std::function<bool(std::string_view)>;  // false stops the answer

  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  ~Model() { bitnet_edge_close(engine_); }

  Outcome open(const std::string& folder, const char* onnxruntime, int threads);
  // Compares the folder's files with the hashes of its manifest.
  static Outcome check(const std::string& folder);
  // Refuses an artifact that has no conversation.
  Outcome can_chat() const;
  bitnet_edge_generation defaults() const;
  const bitnet_edge_info& info() const { return info_; }
  double open_seconds() const { return open_seconds_; }

  Outcome start(const std::optional<std::string>& system);
  Outcome add(const std::string& user, const std::string& answer);
  // The next message of the conversation.
  Outcome send(const std::string& text, const bitnet_edge_generation& generation,
               const Piece& piece, Answer* answer);
  // A text that is put into no chat template.
  Outcome continue_text(const std::string& text, const bitnet_edge_generation& generation,
                        const Piece& piece, Answer* answer);

 private:
  Outcome take(bitnet_edge_code code, const bitnet_edge_error& error, Answer* answer);

  bitnet_edge* engine_ = nullptr;
  bitnet_edge_info info_ = {};
  double open_seconds_ = 0;
};

double now();  // seconds; only differences mean something

}  // namespace board
