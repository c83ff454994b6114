// Sampling: by hand, and against the distributions of Python where a file of them is given, as
// tests/mobile/test_engine.py writes it.
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "run/sampling.h"
#include "testing/check.h"

using edge::Distribution;
using edge::Sampler;
using edge::Sampling;
using edge::Status;

static Sampling sampled() {
  Sampling sampling;
  sampling.do_sample = true;
  sampling.top_k = 0;
  return sampling;
}

// The numbers of the page's random.ts, times 2^53.
static void random_is_that_of_the_page() {
  const struct {
    uint64_t seed, numbers[3];
  } cases[] = {
      {0, {3753762292938962, 5287731933846604, 2387238666281374}},
      {1, {824785018181815, 8000129650062085, 3911558015454733}},
      {uint64_t{1} << 32, {1265530733745507, 6992140666545849, 1904136664221383}},
      {(uint64_t{1} << 32) + 1, {4432859520249508, 3175141626879364, 6411544928791871}},
      {(uint64_t{1} << 53) - 1, {3865810353979630, 1284455306434350, 6038635491749906}},
      {20261129, {8064469120434144, 2679061448077167, 7858544544140454}},
  };
  for (const auto& c : cases) {
    CASE("seed %llu", static_cast<unsigned long long>(c.seed));
    edge::Random random(c.seed);
    for (const uint64_t number : c.numbers) {
      CHECK(random.next() == static_cast<double>(number) / 9007199254740992.0);
    }
  }
}

static std::vector<int32_t> ids_of(const Sampling& sampling, std::vector<float> logits) {
  Distribution found;
  CHECK(Sampler(sampling, logits.size()).distribution(logits.data(), &found).ok());
  double total = 0;
  for (const double p : found.probabilities) total += p;
  CHECK(fabs(total - 1) < 1e-12);
  return found.ids;
}

static void equal_ones() {
  CASE("equal ones");
  Sampling sampling = sampled();
  sampling.top_k = 2;
  CHECK((ids_of(sampling, {1, 3, 2, 2, 0}) == std::vector<int32_t>{1, 2, 3}));
  sampling.top_k = 5;
  CHECK(ids_of(sampling, {1, 3, 2, 2, 0}).size() == 5);
  sampling = sampled();
  sampling.top_p = 0.5;
  CHECK((ids_of(sampling, {2, 2, 2, 2}) == std::vector<int32_t>{0, 1}));
  sampling.top_p = 1e-9;
  CHECK((ids_of(sampling, {0, 7, 7}) == std::vector<int32_t>{1}));
  sampling = sampled();
  sampling.min_p = 1;
  CHECK((ids_of(sampling, {5, 1, 5}) == std::vector<int32_t>{0, 2}));
  sampling = sampled();
  sampling.temperature = 1e-300;
  CHECK(ids_of(sampling, {1, 2, -INFINITY}).size() == 3);  // with probabilities of 0
}

// Flat over more ids than are sorted at once.
static void flat_nucleus() {
  CASE("a flat distribution");
  Sampling sampling = sampled();
  sampling.top_p = 0.9;
  const std::vector<int32_t> ids = ids_of(sampling, std::vector<float>(20000, 1.5f));
  CHECK(ids.size() >= 17999 && ids.size() <= 18001);
  CHECK(ids.front() == 0 && ids.back() == static_cast<int32_t>(ids.size()) - 1);
}

static void greedy_and_penalty() {
  CASE("greedy");
  Sampling greedy;
  std::vector<float> logits = {1, 4, 4, -2};
  int32_t id = -1;
  CHECK(Sampler(greedy, 4).sample(logits.data(), &id).ok());
  CHECK(id == 1);
  CASE("repetition penalty");
  greedy.repetition_penalty = 2;
  Sampler sampler(greedy, 4);
  const int32_t said[] = {1, 3, 1};
  sampler.observe(said, 3);
  logits = {1, 4, 2.5, -2};
  CHECK(sampler.sample(logits.data(), &id).ok());
  CHECK(id == 2 && logits[1] == 2 && logits[3] == -4);
  logits = {1.5, 4, 2.5, -2};
  CHECK(sampler.sample(logits.data(), &id).ok());
  CHECK(id == 1);  // 2 has been said, too: 1.25
  CASE("a temperature of 0");
  Sampling cold = sampled();
  cold.temperature = 0;
  logits = {1, 4, 3, -2};
  CHECK(Sampler(cold, 4).sample(logits.data(), &id).ok());
  CHECK(id == 1);
}

static void damaged_logits() {
  for (const float wrong : {NAN, INFINITY, -INFINITY}) {
    for (const bool do_sample : {false, true}) {
      CASE("%g, do_sample %d", wrong, do_sample);
      Sampling sampling = sampled();
      sampling.do_sample = do_sample;
      std::vector<float> logits(3, isinf(wrong) && wrong < 0 ? wrong : 1);
      logits[1] = wrong;
      int32_t id = 0;
      const Status status = Sampler(sampling, 3).sample(logits.data(), &id);
      CHECK(status.code == BITNET_EDGE_ARTIFACT);
      CHECK(strstr(status.sentence.c_str(), "damaged"));
    }
  }
}

static void draws_follow_the_probabilities() {
  CASE("draws");
  Sampling sampling = sampled();
  sampling.seed = 1;
  Sampler sampler(sampling, 4);
  int counts[4] = {};
  for (int i = 0; i < 20000; i++) {
    float logits[] = {logf(0.1f), logf(0.2f), logf(0.3f), logf(0.4f)};
    int32_t id = 0;
    CHECK(sampler.sample(logits, &id).ok());
    counts[id]++;
  }
  for (int i = 0; i < 4; i++) CHECK(abs(counts[i] - 2000 * (i + 1)) < 250);
}

static void wrong_options() {
  const struct {
    const char* name;
    Sampling sampling;
  } cases[] = {
      {"temperature", {true, -1, 0, 1, 0, 1, 0}},
      {"temperature", {true, NAN, 0, 1, 0, 1, 0}},
      {"temperature", {true, INFINITY, 0, 1, 0, 1, 0}},
      {"top_k", {true, 1, -1, 1, 0, 1, 0}},
      {"top_p", {true, 1, 0, 0, 0, 1, 0}},
      {"top_p", {true, 1, 0, 1.5, 0, 1, 0}},
      {"min_p", {true, 1, 0, 1, -0.1, 1, 0}},
      {"repetition_penalty", {true, 1, 0, 1, 0, 0, 0}},
  };
  for (const auto& c : cases) {
    CASE("a wrong %s", c.name);
    const Status status = check_sampling(c.sampling);
    CHECK(status.code == BITNET_EDGE_ARGUMENT);
    CHECK(status.sentence.rfind(c.name, 0) == 0);
  }
  CHECK(check_sampling(sampled()).ok());
}

static void replay(const char* path) {
  std::string text;
  CHECK(edge::read_file(path, 1 << 26, &text).ok());
  edge::Json json;
  CHECK(edge::parse(text, path, &json).ok());
  size_t count = 0;
  for (const edge::Value& value : json.root()) {
    CASE("%s, case %zu", path, count++);
    std::vector<float> logits;
    for (const edge::Value& logit : *value.get("logits")) {
      logits.push_back(logit.is_null() ? -INFINITY : static_cast<float>(logit.number()));
    }
    Sampling sampling = sampled();
    sampling.temperature = value.get("temperature")->number();
    sampling.top_k = static_cast<int32_t>(value.get("top_k")->integer());
    sampling.top_p = value.get("top_p")->number();
    sampling.min_p = value.get("min_p")->number();
    sampling.repetition_penalty = value.get("repetition_penalty")->number();
    Sampler sampler(sampling, logits.size());
    for (const edge::Value& id : *value.get("said")) {
      const int32_t said = static_cast<int32_t>(id.integer());
      sampler.observe(&said, 1);
    }
    Distribution found;
    CHECK(sampler.distribution(logits.data(), &found).ok());
    const edge::Value &ids = *value.get("ids"), &probabilities = *value.get("probabilities");
    CHECK(found.ids.size() == ids.size());
    size_t i = 0;
    for (auto id = ids.begin(), p = probabilities.begin(); id != ids.end(); ++id, ++p, i++) {
      if (i >= found.ids.size()) break;
      CHECK(found.ids[i] == id->integer());
      // Sums are rounded in another order there.
      CHECK(fabs(found.probabilities[i] - p->number()) <= 1e-14 * p->number());
    }
  }
  CHECK(count > 0);
}

int main(int argc, char** argv) {
  random_is_that_of_the_page();
  equal_ones();
  flat_nucleus();
  greedy_and_penalty();
  damaged_logits();
  draws_follow_the_probabilities();
  wrong_options();
  if (argc > 1) replay(argv[1]);
  return failures != 0;
}
