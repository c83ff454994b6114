#include "changes.h"

#include <sys/random.h>
#include <time.h>

namespace board {

template <typename T>
static void take_one(std::optional<T>* mine, const std::optional<T>& later) {
  if (later) *mine = later;
}

void Changes::take(const Changes& later) {
  take_one(&max_new_tokens, later.max_new_tokens);
  take_one(&temperature, later.temperature);
  take_one(&top_k, later.top_k);
  take_one(&top_p, later.top_p);
  take_one(&min_p, later.min_p);
  take_one(&repetition_penalty, later.repetition_penalty);
  take_one(&seed, later.seed);
  if (later.temperature) do_sample.reset();
  if (!later.stop_strings.empty()) stop_strings = later.stop_strings;
}

static uint64_t drawn_seed() {
  uint32_t seed;  // as short as a person would type it again
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = static_cast<uint32_t>(time(nullptr));
  return seed;
}

// The first option that has no effect without sampling.
static const char* of_sampling(const Changes& changes, bool options) {
  // A client may write the values that turn them off.
  if (changes.top_k && (options || *changes.top_k != 0)) return options ? "--top-k" : "top_k";
  if (changes.top_p && (options || *changes.top_p != 1)) return options ? "--top-p" : "top_p";
  if (changes.min_p && (options || *changes.min_p != 0)) return options ? "--min-p" : "min_p";
  if (changes.seed) return options ? "--seed" : "seed";
  return nullptr;
}

Outcome changed(const bitnet_edge_generation& defaults, const Changes& changes, Names names,
                Asked* asked) {
  bitnet_edge_generation made = defaults;
  const bool options = names == Names::kOptions;
  if (changes.max_new_tokens) made.max_new_tokens = *changes.max_new_tokens;
  if (changes.temperature) made.temperature = *changes.temperature;
  if (changes.top_k) made.top_k = *changes.top_k;
  if (changes.top_p) made.top_p = *changes.top_p;
  if (changes.min_p) made.min_p = *changes.min_p;
  if (changes.repetition_penalty) made.repetition_penalty = *changes.repetition_penalty;
  made.seed = changes.seed ? *changes.seed : drawn_seed();
  if (changes.do_sample) {
    made.do_sample = *changes.do_sample;
  } else if (changes.temperature) {
    made.do_sample = *changes.temperature != 0;
  }
  // Greedy is what options of sampling tend to with the temperature: they are not ignored at 0.
  const bool decided = changes.do_sample || changes.temperature;
  const char* ignored = made.do_sample || decided ? nullptr : of_sampling(changes, options);
  if (ignored != nullptr) {
    const char* temperature = options ? "--temperature" : "temperature";
    return refused(
        format("%s acts only when sampling, expected %s above 0 with it", ignored, temperature));
  }
  if (made.temperature == 0) {
    made.do_sample = 0;
    made.temperature = 1;  // without effect
  }
  asked->texts = changes.stop_strings;
  asked->stops.clear();
  if (!asked->texts.empty()) {
    for (const std::string& text : asked->texts) asked->stops.push_back(text.c_str());
    made.stop_strings = asked->stops.data();
    made.stop_string_count = asked->stops.size();
  }
  asked->generation = made;
  return {};
}

}  // namespace board
