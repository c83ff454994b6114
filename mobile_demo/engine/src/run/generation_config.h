// generation_config.json: the options that a model's makers want, as transformers reads it.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "run/sampling.h"

namespace edge {

class Value;

struct GenerationConfig {
  Sampling sampling;
  int32_t max_new_tokens = 0;  // 0: not given
  int32_t max_length = 0;      // with the prompt; 0: not given. max_new_tokens goes before it
  bool has_eos = false;        // otherwise the tokenizer's ids end an answer
  std::vector<int32_t> eos_ids;
  std::vector<std::string> stop_strings;
  std::string not_sampled;  // why sampling is refused; empty where it is not
};

// The options of a folder; the defaults where it has no such file. A field that changes the answer
// and is not known here is refused by its name, if not by its value. One that acts only on sampling
// is refused when sampling is asked for.
Status read_generation_config(const std::string& folder, GenerationConfig* config);

// The same from an object; the beginning of each sentence is `name`.
Status parse_generation_config(const Value& root, const std::string& name,
                               GenerationConfig* config);

}  // namespace edge
