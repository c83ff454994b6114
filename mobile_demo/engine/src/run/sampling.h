// Logits to one id, greedily or by sampling, with transformers' names and order, as in
// bitnet_onnx/generation/sampling.py and the page for browsers.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "base/status.h"
#include "run/random.h"

namespace edge {

struct Sampling {
  bool do_sample = false;
  double temperature = 1;
  int32_t top_k = 50;  // 0 turns it off
  double top_p = 1;    // 1 turns it off
  double min_p = 0;    // 0 turns it off
  double repetition_penalty = 1;
  uint64_t seed = 0;

  // A temperature of 0 leaves only the likeliest id.
  bool samples() const { return do_sample && temperature > 0; }
};

// Refuses a value that is out of range by its name.
Status check_sampling(const Sampling& sampling);

// The ids that can be drawn, in increasing order, and their probabilities.
struct Distribution {
  std::vector<int32_t> ids;
  std::vector<double> probabilities;
};

// Chooses the ids of one sequence, and remembers them for the repetition penalty.
class Sampler {
 public:
  Sampler(const Sampling& sampling, size_t vocab_size);

  void observe(const int32_t* ids, size_t count);
  // Changes the logits.
  Status sample(float* logits, int32_t* id);
  Status distribution(float* logits, Distribution* distribution) const;

 private:
  Status penalize(float* logits) const;
  int32_t draw(const Distribution& distribution);

  const Sampling sampling_;
  const size_t vocab_size_;
  std::vector<int32_t> seen_;
  std::vector<uint8_t> is_seen_;
  Random random_;
};

}  // namespace edge
