// Ids in, ids out, through the C interface: each line of stdin is a prompt of ids, and its answer
// is a line "<ids> | <finish> <prompt> <reused> <new> <shifts>", or "error <code> <sentence>".
//   edge_answers FOLDER ONNXRUNTIME OPERATORS [name=value ...]
// ONNXRUNTIME and OPERATORS may be "". The names are those of bitnet_edge_generation, and threads.
// With FOLDER alone it only opens.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "bitnet_edge.h"

namespace {

int fail(const bitnet_edge_error& error) {
  printf("error %d %s\n", error.code, error.sentence);
  return 2;
}

bool set(const char* name, double value, bitnet_edge_generation* generation,
         bitnet_edge_options* options) {
  if (!strcmp(name, "threads")) options->threads = static_cast<int>(value);
  if (!generation) return true;
  const struct {
    const char* name;
    int32_t* integer;
    double* number;
  } fields[] = {{"max_new_tokens", &generation->max_new_tokens, nullptr},
                {"do_sample", &generation->do_sample, nullptr},
                {"top_k", &generation->top_k, nullptr},
                {"when_full", &generation->when_full, nullptr},
                {"temperature", nullptr, &generation->temperature},
                {"top_p", nullptr, &generation->top_p},
                {"min_p", nullptr, &generation->min_p},
                {"repetition_penalty", nullptr, &generation->repetition_penalty}};
  for (const auto& field : fields) {
    if (strcmp(field.name, name)) continue;
    if (field.integer) *field.integer = static_cast<int32_t>(value);
    if (field.number) *field.number = value;
    return true;
  }
  if (!strcmp(name, "seed")) generation->seed = static_cast<uint64_t>(value);
  return !strcmp(name, "seed") || !strcmp(name, "threads");
}

bool set_all(int count, char** arguments, bitnet_edge_generation* generation,
             bitnet_edge_options* options) {
  for (int i = 0; i < count; i++) {
    const char* equal = strchr(arguments[i], '=');
    if (!equal) return false;
    const std::string name(arguments[i], static_cast<size_t>(equal - arguments[i]));
    if (!set(name.c_str(), strtod(equal + 1, nullptr), generation, options)) return false;
  }
  return true;
}

bool read_line(std::string* line) {
  line->clear();
  int byte;
  while ((byte = getchar()) != EOF && byte != '\n') line->push_back(static_cast<char>(byte));
  return byte != EOF || !line->empty();
}

void answer(bitnet_edge* engine, const std::string& line,
            const bitnet_edge_generation& generation) {
  std::vector<int32_t> ids;
  char* end;
  for (const char* at = line.c_str();; at = end) {
    const long id = strtol(at, &end, 10);
    if (end == at) break;
    ids.push_back(static_cast<int32_t>(id));
  }
  bitnet_edge_stats stats;
  bitnet_edge_error error;
  if (bitnet_edge_generate(engine, ids.data(), ids.size(), &generation, nullptr, nullptr, &stats,
                           &error)) {
    fail(error);
    return;
  }
  size_t count;
  const int32_t* answer = bitnet_edge_answer_ids(engine, &count);
  for (size_t i = 0; i < count; i++) printf("%" PRId32 " ", answer[i]);
  printf("| %d %" PRId32 " %" PRId32 " %" PRId32 " %" PRId32 "\n", stats.finish, stats.prompt_ids,
         stats.reused_ids, stats.new_ids, stats.shifts);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 1;
  bitnet_edge_options options = {argv[1], nullptr, nullptr, 0};
  if (argc > 2 && *argv[2]) options.onnxruntime = argv[2];
  if (argc > 3 && *argv[3]) options.operators = argv[3];
  const int count = argc > 4 ? argc - 4 : 0;
  set_all(count, argv + 4, nullptr, &options);
  bitnet_edge* engine;
  bitnet_edge_error error;
  if (bitnet_edge_open(&options, &engine, &error)) return fail(error);
  bitnet_edge_generation generation;
  bitnet_edge_defaults(engine, &generation);
  if (!set_all(count, argv + 4, &generation, &options)) return 1;
  std::string line;
  while (argc > 2 && read_line(&line)) answer(engine, line, generation);
  bitnet_edge_close(engine);
  return 0;
}
