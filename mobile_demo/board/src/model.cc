#include "model.h"

#include <time.h>

#include "interrupts.h"

namespace board {

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

static Outcome outcome(bitnet_edge_code code, const bitnet_edge_error& error) {
  return code == BITNET_EDGE_OK ? Outcome() : refused(error.sentence);
}

Outcome Model::open(const std::string& folder, const char* onnxruntime, int threads) {
  const double begun = now();
  bitnet_edge_options options = {};
  options.folder = folder.c_str();
  options.onnxruntime = onnxruntime;
  options.threads = threads;
  bitnet_edge_error error = {};
  const bitnet_edge_code code = bitnet_edge_open(&options, &engine_, &error);
  if (code == BITNET_EDGE_OK) bitnet_edge_describe(engine_, &info_);
  open_seconds_ = now() - begun;
  return outcome(code, error);
}

Outcome Model::check(const std::string& folder) {
  bitnet_edge_error error = {};
  return outcome(bitnet_edge_check(folder.c_str(), &error), error);
}

Outcome Model::can_chat() const {
  if (info_.can_chat) return {};
  const char* const why = bitnet_edge_why_no_chat(engine_);
  return refused(why == nullptr ? "the artifact has no conversation" : why,
                 "--ignore-chat-template continues plain text");
}

bitnet_edge_generation Model::defaults() const {
  bitnet_edge_generation generation = {};
  bitnet_edge_defaults(engine_, &generation);
  return generation;
}

Outcome Model::start(const std::optional<std::string>& system) {
  bitnet_edge_error error = {};
  const char* const text = system ? system->data() : nullptr;
  return outcome(bitnet_edge_chat_start(engine_, text, system ? system->size() : 0, &error), error);
}

Outcome Model::add(const std::string& user, const std::string& answer) {
  bitnet_edge_error error = {};
  return outcome(
      bitnet_edge_chat_add(engine_, user.data(), user.size(), answer.data(), answer.size(), &error),
      error);
}

namespace {

struct Receiver {
  const Model::Piece& piece;
  Answer& answer;
};

int receive(const char* text, size_t bytes, void* user) {
  const Receiver& receiver = *static_cast<Receiver*>(user);
  receiver.answer.text.append(text, bytes);
  // A signal may have come before the engine could be told.
  return !receiver.piece(std::string_view(text, bytes)) || interrupted();
}

}  // namespace

Outcome Model::send(const std::string& text, const bitnet_edge_generation& generation,
                    const Piece& piece, Answer* answer) {
  bitnet_edge_error error = {};
  Receiver receiver = {piece, *answer};
  now_answering(engine_);
  const bitnet_edge_code code = bitnet_edge_chat_send(
      engine_, text.data(), text.size(), &generation, receive, &receiver, &answer->stats, &error);
  now_answering(nullptr);
  return take(code, error, answer);
}

Outcome Model::continue_text(const std::string& text, const bitnet_edge_generation& generation,
                             const Piece& piece, Answer* answer) {
  bitnet_edge_error error = {};
  std::vector<int32_t> ids(text.size() + 16);
  size_t count = 0;
  bitnet_edge_code code = BITNET_EDGE_OK;
  for (bool fits = false; !fits && code == BITNET_EDGE_OK;) {
    code = bitnet_edge_encode(engine_, text.data(), text.size(), 1, ids.data(), ids.size(), &count,
                              &error);
    fits = count <= ids.size();
    ids.resize(count);
  }
  if (code != BITNET_EDGE_OK) return outcome(code, error);
  Receiver receiver = {piece, *answer};
  now_answering(engine_);
  code = bitnet_edge_generate(engine_, ids.data(), ids.size(), &generation, receive, &receiver,
                              &answer->stats, &error);
  now_answering(nullptr);
  return take(code, error, answer);
}

Outcome Model::take(bitnet_edge_code code, const bitnet_edge_error& error, Answer* answer) {
  answer->code = code;
  if (code != BITNET_EDGE_OK) return outcome(code, error);
  size_t count = 0;
  const int32_t* const ids = bitnet_edge_answer_ids(engine_, &count);
  answer->ids.assign(ids, ids + count);
  return {};
}

}  // namespace board
