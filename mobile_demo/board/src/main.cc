// bitnet-edge: an artifact folder that answers, on any Linux.

#include <unistd.h>

#include <new>

#include "arguments.h"
#include "asking.h"
#include "interrupts.h"
#include "report.h"
#include "serve/server.h"

namespace board {

static void out_of_memory() {
  report(refused("the memory is not enough, expected more of it",
                 "end other programs, or export with a smaller head or context"));
  _exit(kMistake);
}

static Outcome ask(const Arguments& arguments, Model& model) {
  Outcome able = arguments.ignore_chat_template ? Outcome() : model.can_chat();
  if (!able.ok()) return able;
  able = catch_interrupts();
  if (!able.ok()) return able;
  Asking asking(arguments, model);
  Lines lines;
  if (arguments.question && *arguments.question != "-") return asking.one(*arguments.question);
  return is_terminal(0) && !arguments.question ? asking.chat(lines) : asking.each_line(lines);
}

static Outcome run(int count, const char* const* words) {
  Arguments arguments;
  const Outcome parsed = parse(count, words, &arguments);
  if (!parsed.ok()) return parsed;
  if (arguments.help) return write_out(kHelp);
  if (arguments.version) return write_out("bitnet-edge " BITNET_EDGE_VERSION "\n");
  if (arguments.check) {
    const Outcome checked = Model::check(arguments.artifact);
    return checked.ok() ? write_out("every file has the hash that the manifest says\n") : checked;
  }
  if (arguments.serve) return serve(arguments);
  Model model;
  const char* const onnxruntime = arguments.onnxruntime ? arguments.onnxruntime->c_str() : nullptr;
  const Outcome opened = model.open(arguments.artifact, onnxruntime, arguments.threads);
  if (!opened.ok()) return opened;
  if (arguments.stats) say_model(model);
  return ask(arguments, model);
}

}  // namespace board

int main(int count, char** words) {
  board::guard_streams();
  std::set_new_handler(board::out_of_memory);
  return board::report(board::run(count, words));
}
