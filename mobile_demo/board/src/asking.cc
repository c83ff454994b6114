#include "asking.h"

#include <unistd.h>

#include "interrupts.h"
#include "report.h"

namespace board {

static constexpr char kCommands[] = R"(/help   this list
/new    forget the conversation; the system prompt stays
/quit   end; so does Ctrl-D. Ctrl-C stops an answer, or ends at the prompt
//TEXT  send /TEXT
A paste of several lines is one message.)";
static constexpr int kPasted =
    50;  // milliseconds to the next line of a paste; nobody types so fast
static constexpr size_t kTerminalLine = 4095;  // bytes: the system cuts what is longer

static bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

Outcome Asking::begin() {
  return arguments_.ignore_chat_template ? Outcome() : model_.start(arguments_.system);
}

Outcome Asking::answer(const std::string& text) {
  Asked asked;
  Outcome done = changed(model_.defaults(), arguments_.changes, Names::kOptions, &asked);
  if (!done.ok()) return done;
  Outcome written;
  const Model::Piece piece = [&](std::string_view shown) {
    if (!arguments_.json) written = write_out(shown);
    return written.ok();
  };
  asked.generation.when_full = when_full_;
  Answer given;
  done = arguments_.ignore_chat_template
             ? model_.continue_text(text, asked.generation, piece, &given)
             : model_.send(text, asked.generation, piece, &given);
  if (!written.ok()) return written;
  if (!done.ok()) return done;
  if (interrupted()) {
    if (!arguments_.json) write_out("\n");
    return {kInterrupted, "", "", false};
  }
  written = write_out(arguments_.json ? json_line(model_, asked.generation, given) : "\n");
  if (given.stats.forgotten > 0) {
    say("the context is full: the oldest %d %s forgotten", given.stats.forgotten,
        given.stats.forgotten == 1 ? "turn was" : "turns were");
  }
  if (written.ok() && arguments_.stats) say_speed(given);
  return written;
}

Outcome Asking::one(const std::string& question) {
  if (is_blank(question)) return refused("the prompt is empty, expected some text");
  const Outcome begun = begin();
  return begun.ok() ? answer(question) : begun;
}

Outcome Asking::each_line(Lines& lines) {
  std::string question;
  bool more = true;
  while (true) {
    Outcome done = lines.next(&question, &more);
    if (!done.ok() || !more) return done;
    if (is_blank(question)) continue;
    done = one(question);
    if (!done.ok()) return done;
  }
}

Outcome Asking::typed(Lines& lines, std::string* text, bool* more) {
  if (is_terminal(2)) {
    std::string sign = "> ";
    (void)!write(2, sign.data(), sign.size());
  }
  Outcome read = lines.next(text, more);
  bool cut = text->size() >= kTerminalLine;
  std::string line;
  for (bool another = *more; read.ok() && another && lines.soon(kPasted);) {
    read = lines.next(&line, &another);
    cut |= line.size() >= kTerminalLine;
    if (another) *text += "\n" + line;
  }
  if (read.ok() && cut) {
    text->clear();
    say("error: a line has %zu bytes, at which a terminal cuts it, expected fewer\n"
        "hint: give a longer text by a pipe or as an argument",
        kTerminalLine);
  }
  return read;
}

Outcome Asking::obey(const std::string& command) {
  if (command == "/help") {
    say("%s", kCommands);
  } else if (command == "/new" || command == "/reset") {
    return begin();
  } else {
    say("error: %s is not a command, expected one that /help lists\n"
        "hint: //TEXT sends /TEXT to the model",
        command.c_str());
  }
  return {};
}

Outcome Asking::chat(Lines& lines) {
  Outcome done = begin();
  if (!done.ok()) return done;
  when_full_ = BITNET_EDGE_FULL_FORGETS;
  say("type a message; /help lists commands, /quit or Ctrl-D ends");
  std::string text;
  for (bool more = true; more;) {
    done = typed(lines, &text, &more);
    if (done.ends) return done;
    if (!done.ok()) {  // a line that is not UTF-8
      report(done);
      continue;
    }
    const size_t begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t");
    if (begin == std::string::npos) continue;
    text = text.substr(begin, end - begin + 1);
    if (text == "/quit" || text == "/exit") return {};
    if (text[0] == '/' && text.compare(0, 2, "//") != 0 && text.find('\n') == std::string::npos) {
      done = obey(text);
      if (!done.ok()) return done;
      continue;
    }
    done = answer(text.compare(0, 2, "//") == 0 ? text.substr(1) : text);
    if (done.ends) return done;
    if (done.code == kInterrupted) {
      forget_interrupt();
      say("stopped; Ctrl-C again ends the chat");
    } else {
      report(done);
    }
  }
  say("%s", "");
  return {};
}

}  // namespace board
