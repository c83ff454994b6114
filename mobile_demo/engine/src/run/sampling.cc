#include "run/sampling.h"

#include <math.h>
#include <stdlib.h>

#include <algorithm>

namespace edge {
namespace {

// The k-th largest value, 1 <= k <= size (quickselect, which is smaller than the library's).
template <typename Number>
Number kth_largest(const Number* values, size_t size, size_t k) {
  std::vector<Number> work(values, values + size);
  ptrdiff_t low = 0, high = static_cast<ptrdiff_t>(size) - 1;
  const ptrdiff_t wanted = static_cast<ptrdiff_t>(k) - 1;
  while (low < high) {
    const Number pivot = work[low + (high - low) / 2];
    ptrdiff_t left = low, right = high;
    while (left <= right) {
      while (work[left] > pivot) left++;
      while (work[right] < pivot) right--;
      if (left <= right) std::swap(work[left++], work[right--]);
    }
    if (wanted > right && wanted < left) break;
    (wanted <= right ? high : low) = wanted <= right ? right : left;
  }
  return work[wanted];
}

// The first of the largest values; NaN is the largest, as in NumPy.
size_t argmax(const float* values, size_t size) {
  size_t best = 0;
  for (size_t i = 0; i < size; i++) {
    if (isnan(values[i])) return i;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

Status check_finite(float highest) {
  if (isfinite(highest)) return {};
  return fail(BITNET_EDGE_ARTIFACT,
              "the highest logit is %g, expected a finite number: the weights or the artifact are "
              "damaged; export or copy the artifact again",
              static_cast<double>(highest));
}

// Leaves out the ids whose weight is below 0.
void drop_negative(Distribution* d) {
  size_t count = 0;
  for (size_t i = 0; i < d->ids.size(); i++) {
    if (d->probabilities[i] < 0) continue;
    d->ids[count] = d->ids[i];
    d->probabilities[count++] = d->probabilities[i];
  }
  d->ids.resize(count);
  d->probabilities.resize(count);
}

struct Place {
  double weight;
  size_t place;
};

// For qsort: the larger weight first, and of equals the lower place.
int compare_places(const void* a, const void* b) {
  const Place &x = *static_cast<const Place*>(a), &y = *static_cast<const Place*>(b);
  if (x.weight != y.weight) return x.weight > y.weight ? -1 : 1;
  return x.place < y.place ? -1 : 1;
}

// The fewest likeliest ids whose weights reach top_p of all; of equals, the lower id.
void keep_nucleus(double top_p, Distribution* d) {
  std::vector<double>& weights = d->probabilities;
  const double limit = top_p * sum(weights);
  // Sorting the likeliest few is enough unless the distribution is very flat.
  for (size_t count = std::min<size_t>(1024, weights.size());;
       count = std::min(count * 8, weights.size())) {
    const double least = kth_largest(weights.data(), weights.size(), count);
    std::vector<Place> order;
    for (size_t i = 0; i < weights.size(); i++) {
      if (weights[i] >= least) order.push_back({weights[i], i});
    }
    qsort(order.data(), order.size(), sizeof(Place), compare_places);
    size_t size = 0;
    double reached = 0;
    do {
      reached += order[size++].weight;
    } while (reached < limit && size < order.size());
    if (reached < limit && order.size() < weights.size()) continue;
    for (double& weight : weights) weight = -1;
    for (size_t i = 0; i < size; i++) weights[order[i].place] = order[i].weight;
    drop_negative(d);
    return;
  }
}

void keep_likely(double min_p, Distribution* d) {
  double highest = 0;
  for (const double weight : d->probabilities) highest = std::max(highest, weight);
  for (double& weight : d->probabilities) {
    if (weight < min_p * highest) weight = -1;
  }
  drop_negative(d);
}

}  // namespace

Status check_sampling(const Sampling& s) {
  const struct {
    const char* name;
    double value;
    bool good;
    const char* expected;
  } rules[] = {
      {"temperature", s.temperature, s.temperature >= 0, "a number of at least 0"},
      {"top_k", double(s.top_k), s.top_k >= 0, "an integer of at least 0 (0 turns it off)"},
      {"top_p", s.top_p, s.top_p > 0 && s.top_p <= 1, "a number above 0 and at most 1"},
      {"min_p", s.min_p, s.min_p >= 0 && s.min_p <= 1, "a number from 0 to 1"},
      {"repetition_penalty", s.repetition_penalty, s.repetition_penalty > 0, "a number above 0"},
  };
  for (const auto& rule : rules) {
    if (rule.good && isfinite(rule.value)) continue;
    return fail(BITNET_EDGE_ARGUMENT, "%s is %g, expected %s", rule.name, rule.value,
                rule.expected);
  }
  return {};
}

Sampler::Sampler(const Sampling& sampling, size_t vocab_size)
    : sampling_(sampling), vocab_size_(vocab_size), random_(sampling.seed) {
  if (sampling.repetition_penalty != 1) is_seen_.resize(vocab_size);
}

void Sampler::observe(const int32_t* ids, size_t count) {
  for (size_t i = 0; !is_seen_.empty() && i < count; i++) {
    if (is_seen_[ids[i]]) continue;
    is_seen_[ids[i]] = 1;
    seen_.push_back(ids[i]);
  }
}

// In float32, as Python computes it.
Status Sampler::penalize(float* logits) const {
  const float penalty = static_cast<float>(sampling_.repetition_penalty);
  for (const int32_t id : seen_) {
    const float found = logits[id];
    logits[id] = found < 0 ? found * penalty : found / penalty;
    // Minus infinity is an id that is never chosen.
    if (isfinite(found) && !(logits[id] < INFINITY)) {
      return fail(BITNET_EDGE_ARGUMENT,
                  "repetition_penalty is %g, which makes a logit of %g infinite, expected a number "
                  "nearer to 1",
                  sampling_.repetition_penalty, double{found});
    }
  }
  return {};
}

Status Sampler::distribution(float* logits, Distribution* d) const {
  if (Status status = penalize(logits); !status.ok()) return status;
  const float highest = logits[argmax(logits, vocab_size_)];
  if (Status status = check_finite(highest); !status.ok()) return status;
  // Logits equal to the k-th are kept. Dividing by a temperature changes no order.
  const size_t k = static_cast<size_t>(sampling_.top_k);
  const float least = k > 0 && k < vocab_size_ ? kth_largest(logits, vocab_size_, k) : -INFINITY;
  d->ids.clear();
  d->probabilities.clear();
  for (size_t id = 0; id < vocab_size_; id++) {
    if (logits[id] < least) continue;
    d->ids.push_back(static_cast<int32_t>(id));
    d->probabilities.push_back(exp((double{logits[id]} - double{highest}) / sampling_.temperature));
  }
  if (sampling_.top_p < 1) keep_nucleus(sampling_.top_p, d);
  if (sampling_.min_p > 0) keep_likely(sampling_.min_p, d);
  const double total = sum(d->probabilities);
  for (double& weight : d->probabilities) weight /= total;
  return {};
}

int32_t Sampler::draw(const Distribution& d) {
  // Scaled by the sum, the draw falls inside, however the sum was rounded.
  const double target = random_.next() * sum(d.probabilities);
  double cumulative = 0;
  for (size_t i = 0; i < d.ids.size(); i++) {
    cumulative += d.probabilities[i];
    if (cumulative > target) return d.ids[i];
  }
  return d.ids.back();
}

Status Sampler::sample(float* logits, int32_t* id) {
  Status status;
  if (sampling_.samples()) {
    Distribution found;
    status = distribution(logits, &found);
    if (status.ok()) *id = draw(found);
  } else {
    status = penalize(logits);
    const size_t largest = argmax(logits, vocab_size_);
    if (status.ok()) status = check_finite(logits[largest]);
    *id = static_cast<int32_t>(largest);
  }
  if (status.ok()) observe(id, 1);
  return status;
}

}  // namespace edge
