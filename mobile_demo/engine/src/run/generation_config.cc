#include "run/generation_config.h"

#include "base/file.h"
#include "base/json.h"

namespace edge {
namespace {

constexpr char kFile[] = "generation_config.json";
constexpr char kChange[] = "change the file of the checkpoint and export it again";

// Fields that change the answer and are not implemented, with the value that turns each off; null
// always does.
enum class Off { kNever, kEmptyList, kFalse, kZero, kOne, kUsualCache };
struct Refused {
  char name[36];  // no pointer, which would be relocated
  Off off;
  bool sampling = false;  // acts only on sampling
};
constexpr Refused kRefused[] = {
    {"bad_words_ids", Off::kEmptyList},
    {"begin_suppress_tokens", Off::kEmptyList},
    {"cache_implementation", Off::kUsualCache},
    {"constraints", Off::kNever},
    {"dola_layers", Off::kNever},
    {"encoder_no_repeat_ngram_size", Off::kZero},
    {"encoder_repetition_penalty", Off::kOne},
    {"epsilon_cutoff", Off::kZero, true},
    {"eta_cutoff", Off::kZero, true},
    {"exponential_decay_length_penalty", Off::kNever},
    {"force_bos_token_to_be_generated", Off::kFalse},
    {"force_words_ids", Off::kNever},
    {"forced_bos_token_id", Off::kNever},
    {"forced_eos_token_id", Off::kNever},
    {"frequency_penalty", Off::kZero},
    {"guidance_scale", Off::kOne},
    {"max_time", Off::kNever},
    {"min_length", Off::kZero},
    {"min_new_tokens", Off::kZero},
    {"negative_prompt", Off::kNever},
    {"negative_prompt_ids", Off::kNever},
    {"no_repeat_ngram_size", Off::kZero},
    {"num_beam_groups", Off::kOne},
    {"num_beams", Off::kOne},
    {"num_return_sequences", Off::kOne},
    {"penalty_alpha", Off::kZero},
    {"presence_penalty", Off::kZero},
    {"remove_invalid_values", Off::kFalse},
    {"sequence_bias", Off::kNever},
    {"structured_outputs", Off::kNever},
    {"suppress_tokens", Off::kEmptyList},
    {"token_healing", Off::kFalse},
    {"top_h", Off::kNever},
    {"typical_p", Off::kOne, true},
    {"watermarking_config", Off::kNever},
};
// transformers' names of a cache that grows, which is the one here.
constexpr const char* kCaches[] = {"dynamic", "dynamic_full", "hybrid"};

bool is_off(const Value& value, Off off) {
  switch (off) {
    case Off::kNever:
      return false;
    case Off::kEmptyList:
      return value.is_array() && value.size() == 0;
    case Off::kFalse:
      return value.is_bool() && !value.boolean();
    case Off::kZero:
      return value.is_number() && value.number() == 0;
    case Off::kOne:
      return value.is_number() && value.number() == 1;
    case Off::kUsualCache:
      break;
  }
  for (const char* cache : kCaches) {
    if (value.is_string() && value.text() == cache) return true;
  }
  return false;
}

Status wrong(const std::string& name, const char* field, const char* expected) {
  return fail(BITNET_EDGE_UNSUPPORTED, "%s: %s has another value than expected, which is %s; %s",
              name.c_str(), field, expected, kChange);
}

const Value* given(const Value& root, const char* field) {
  const Value* value = root.get(field);
  return value && !value->is_null() ? value : nullptr;  // null is the default
}

Status read_number(const Value& root, const std::string& name, const char* field, double* number) {
  const Value* value = given(root, field);
  if (!value) return {};
  if (!value->is_number()) return wrong(name, field, "a number");
  *number = value->number();
  return {};
}

Status read_integer(const Value& root, const std::string& name, const char* field, int32_t least,
                    int32_t* integer) {
  const Value* value = given(root, field);
  if (!value) return {};
  if (!value->is_integer() || value->integer() < least) {
    return wrong(name, field, least ? "an integer of at least 1" : "an integer of at least 0");
  }
  // More than any context and vocabulary has, as all that is above it.
  *integer = static_cast<int32_t>(value->integer() < INT32_MAX ? value->integer() : INT32_MAX);
  return {};
}

Status read_sampling(const Value& root, const std::string& name, Sampling* sampling) {
  if (const Value* value = given(root, "do_sample")) {
    if (!value->is_bool()) return wrong(name, "do_sample", "true or false");
    sampling->do_sample = value->boolean();
  }
  Status status = read_number(root, name, "temperature", &sampling->temperature);
  if (status.ok()) status = read_integer(root, name, "top_k", 0, &sampling->top_k);
  if (status.ok()) status = read_number(root, name, "top_p", &sampling->top_p);
  if (status.ok()) status = read_number(root, name, "min_p", &sampling->min_p);
  if (status.ok()) {
    status = read_number(root, name, "repetition_penalty", &sampling->repetition_penalty);
  }
  if (!status.ok()) return status;
  status = check_sampling(*sampling);
  if (status.ok()) return {};
  return fail(BITNET_EDGE_UNSUPPORTED, "%s: %s; %s", name.c_str(), status.sentence.c_str(),
              kChange);
}

// Calls take(item) for one value, or for each of a list; false where an item is not taken.
template <typename Take>
bool for_each(const Value& value, const Take& take) {
  if (!value.is_array()) return take(value);
  for (const Value& item : value) {
    if (!take(item)) return false;
  }
  return true;
}

Status read_endings(const Value& root, const std::string& name, GenerationConfig* config) {
  if (const Value* value = given(root, "eos_token_id")) {
    config->has_eos = true;
    const bool good = for_each(*value, [config](const Value& id) {
      if (!id.is_integer() || id.integer() < 0) return false;
      // An id beyond int32 is of no vocabulary.
      if (id.integer() <= INT32_MAX) config->eos_ids.push_back(static_cast<int32_t>(id.integer()));
      return true;
    });
    if (!good) return wrong(name, "eos_token_id", "an id or a list of ids");
  }
  if (const Value* value = given(root, "stop_strings")) {
    const bool good = for_each(*value, [config](const Value& text) {
      // The C interface ends them with NUL.
      if (text.text().empty() || text.text().find('\0') != std::string_view::npos) return false;
      config->stop_strings.push_back(text.string());
      return true;
    });
    if (!good) return wrong(name, "stop_strings", "texts that are not empty, without NUL");
  }
  return {};
}

}  // namespace

Status parse_generation_config(const Value& root, const std::string& name,
                               GenerationConfig* config) {
  for (const Refused& refused : kRefused) {
    const Value* value = given(root, refused.name);
    if (!value || is_off(*value, refused.off)) continue;
    Status status =
        fail(BITNET_EDGE_UNSUPPORTED, "%s: %s is not implemented, expected the file without it; %s",
             name.c_str(), refused.name, kChange);
    if (!refused.sampling) return status;
    if (config->not_sampled.empty()) config->not_sampled = status.sentence;
  }
  Status status = read_sampling(root, name, &config->sampling);
  if (status.ok()) status = read_integer(root, name, "max_new_tokens", 1, &config->max_new_tokens);
  if (status.ok()) status = read_integer(root, name, "max_length", 1, &config->max_length);
  if (status.ok()) status = read_endings(root, name, config);
  return status;
}

Status read_generation_config(const std::string& folder, GenerationConfig* config) {
  const std::string path = join(folder, kFile);
  if (!file_exists(path)) return {};
  Json json;
  if (Status status = read_json(folder, kFile, &json); !status.ok()) return status;
  return parse_generation_config(json.root(), path, config);
}

}  // namespace edge
