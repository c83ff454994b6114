// The options of generation that a caller gives; they go before those of the artifact.
#pragma once

#include <stdint.h>

#include <optional>
#include <string>
#include <vector>

#include "bitnet_edge.h"
#include "outcome.h"

namespace board {

// A temperature above 0 samples, and 0 is greedy, unless do_sample says otherwise.
struct Changes {
  std::optional<int32_t> max_new_tokens, top_k;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<uint64_t> seed;  // none: each answer draws one
  std::optional<bool> do_sample;
  std::vector<std::string> stop_strings;

  void take(const Changes& later);  // what these have goes before what is here
};

// How the options are called where they come from: "--top-k", or "top_k" in a request.
enum class Names { kOptions, kFields };

// Options with their changes. `generation` points into `stops`, and these into `texts`.
struct Asked {
  Asked() = default;
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  bitnet_edge_generation generation = {};
  std::vector<std::string> texts;
  std::vector<const char*> stops;
};

// Refuses an option that acts only when sampling, where nothing samples.
Outcome changed(const bitnet_edge_generation& defaults, const Changes& changes, Names names,
                Asked* asked);

}  // namespace board
