// generation_config.json: what is taken, and what is refused by its name.
#include <string.h>

#include "base/json.h"
#include "run/generation_config.h"
#include "testing/check.h"

using edge::GenerationConfig;
using edge::Status;

static Status parsed(const char* text, GenerationConfig* config) {
  CASE("%.200s", text);
  edge::Json json;
  CHECK(edge::parse(text, "the test", &json).ok());
  return parse_generation_config(json.root(), "generation_config.json", config);
}

static GenerationConfig good(const char* text) {
  GenerationConfig config;
  const Status status = parsed(text, &config);
  if (!status.ok()) fprintf(stderr, "%s\n", status.sentence.c_str());
  CHECK(status.ok());
  return config;
}

static void refused(const char* text, const char* name) {
  GenerationConfig config;
  const Status status = parsed(text, &config);
  CHECK(status.code == BITNET_EDGE_UNSUPPORTED);
  CHECK(strstr(status.sentence.c_str(), name));
}

int main() {
  GenerationConfig c = good("{}");
  CHECK(!c.sampling.do_sample && c.sampling.top_k == 50 && !c.has_eos && !c.max_new_tokens);
  c = good(R"({"do_sample": true, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.05,
               "repetition_penalty": 1.1, "max_length": 30, "max_new_tokens": 9})");
  CHECK(c.sampling.samples() && c.sampling.temperature == 0.7 && c.sampling.top_k == 5);
  CHECK(c.sampling.top_p == 0.9 && c.sampling.min_p == 0.05);
  CHECK(c.sampling.repetition_penalty == 1.1 && c.max_length == 30 && c.max_new_tokens == 9);
  c = good(R"({"max_new_tokens": 99999999999, "max_length": 3000000000, "top_k": 5000000000})");
  CHECK(c.max_new_tokens == INT32_MAX && c.max_length == INT32_MAX);
  CHECK(c.sampling.top_k == INT32_MAX);
  refused("{\"stop_strings\": [\"3\\u0000x\"]}", "stop_strings");
  refused("{\"stop_strings\": \"\\u0000\"}", "stop_strings");
  c = good(R"({"eos_token_id": [45, 2], "stop_strings": ["-T", "###"], "temperature": null})");
  CHECK(c.has_eos && c.eos_ids.size() == 2 && c.eos_ids[0] == 45 && c.stop_strings[1] == "###");
  c = good(R"({"eos_token_id": 7, "stop_strings": "x"})");
  CHECK(c.eos_ids.size() == 1 && c.stop_strings.size() == 1);
  c = good(R"({"eos_token_id": []})");
  CHECK(c.has_eos && c.eos_ids.empty());
  // Off, without a meaning here, or unknown to transformers.
  good(R"({"num_beams": 1, "min_length": 0, "use_cache": true, "chat_format": "chatml",
           "bad_words_ids": [], "suppress_tokens": null, "cache_implementation": "hybrid",
           "guidance_scale": 1.0, "typical_p": 1.0, "_from_model_config": true})");
  // They act on sampling alone.
  for (const char* text : {R"({"typical_p": 0.9})", R"({"epsilon_cutoff": 1e-4})",
                           R"({"eta_cutoff": 0.001, "do_sample": true})"}) {
    CHECK(!good(text).not_sampled.empty());
  }
  CHECK(good("{}").not_sampled.empty());
  refused(R"({"num_beams": 4})", "num_beams");
  refused(R"({"penalty_alpha": 0.6})", "penalty_alpha");
  refused(R"({"guidance_scale": 1.5})", "guidance_scale");
  refused(R"({"suppress_tokens": [1]})", "suppress_tokens");
  refused(R"({"presence_penalty": 0.5})", "presence_penalty");
  refused(R"({"frequency_penalty": -1})", "frequency_penalty");
  refused(R"({"num_return_sequences": 2, "do_sample": true})", "num_return_sequences");
  refused(R"({"min_new_tokens": 3})", "min_new_tokens");
  refused(R"({"forced_eos_token_id": 3})", "forced_eos_token_id");
  for (const char* cache :
       {"quantized", "static", "offloaded", "sliding_window", "sink", "paged"}) {
    refused((std::string(R"({"cache_implementation": ")") + cache + "\"}").c_str(),
            "cache_implementation");
  }
  refused(R"({"cache_implementation": 1})", "cache_implementation");
  refused(R"({"structured_outputs": {"regex": "a"}})", "structured_outputs");
  refused(R"({"negative_prompt": "a"})", "negative_prompt");
  refused(R"({"negative_prompt_ids": [1]})", "negative_prompt_ids");
  refused(R"({"constraints": false})", "constraints");
  refused(R"({"top_p": 2})", "top_p");
  refused(R"({"temperature": 1e999})", "temperature");
  refused(R"({"temperature": true})", "temperature");
  refused(R"({"repetition_penalty": "1"})", "repetition_penalty");
  refused(R"({"top_k": 5.5})", "top_k");
  refused(R"({"top_k": -1})", "top_k");
  refused(R"({"do_sample": 1})", "do_sample");
  refused(R"({"eos_token_id": "</s>"})", "eos_token_id");
  refused(R"({"eos_token_id": [-1]})", "eos_token_id");
  refused(R"({"max_length": 0})", "max_length");
  refused(R"({"stop_strings": [""]})", "stop_strings");
  return failures != 0;
}
