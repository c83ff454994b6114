#include "arguments.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <string_view>

namespace board {

const char kHelp[] = R"(usage: bitnet-edge ARTIFACT [QUESTION] [OPTION]...

Answers from a folder that `bitnet-onnx export` made, without Python: the question; or a chat in
the terminal; or, where stdin is no terminal, each line of it, as a question of its own.

  ARTIFACT                  the folder
  QUESTION                  one question; -: each line of stdin is one
  --system TEXT             the system prompt; default: none
  --ignore-chat-template    continue the plain text, which is put into no chat template
  --threads N               default: one for each fast core
  --onnxruntime FILE        ONNX Runtime's library; default: beside the program, or the system's
  --stats                   print speed and memory to stderr
  --check                   compare every file with its hash in the manifest, and end
  --json                    print each answer as a JSON object on one line: text, ids, stats
  --serve [ADDRESS]         answer POST /v1/chat/completions: 127.0.0.1:PORT, [::1]:PORT or
                            unix:PATH; default: 127.0.0.1:8080
  --version                 print the version
  --help                    print this

generation; names and meanings are those of transformers, the defaults are the artifact's
  --max-new-tokens N        end an answer after this many tokens; default: 512
  --temperature T           above 0: sample, with logits divided by this; 0: greedy
  --do-sample, --no-do-sample
                            sample or not, with the artifact's temperature
  --top-k K                 when sampling: keep the k likeliest tokens; 0: all
  --top-p P                 when sampling: keep the likeliest tokens whose probabilities reach p
  --min-p P                 when sampling: keep tokens at least p times as likely as the likeliest
  --repetition-penalty X    above 1: tokens that occurred are less likely
  --seed N                  when sampling: the same seed gives the same text
  --stop-string TEXT        a text that ends an answer; may be repeated

Exit codes: 0; 2 after a mistake, with one sentence on stderr; 130 after Ctrl-C; 141 where nobody
reads stdout.
)";

static Outcome wrong(std::string sentence) {
  return refused(std::move(sentence), "see: bitnet-edge --help");
}

static Outcome integer(std::string_view name, const std::string& text, long long least,
                       unsigned long long most, unsigned long long* value) {
  char* end;
  errno = 0;
  const bool digits = !text.empty() && strchr("0123456789", text[0]) != nullptr;
  *value = digits ? strtoull(text.c_str(), &end, 10) : 0;
  if (digits && *end == '\0' && errno == 0 && *value <= most &&
      (least <= 0 || *value >= static_cast<unsigned long long>(least)))
    return {};
  return wrong(format("%s is '%s', expected an integer from %lld to %llu",
                      std::string(name).c_str(), text.c_str(), least, most));
}

static Outcome count(std::string_view name, const std::string& text, int least, int32_t* value) {
  unsigned long long found;
  const Outcome read = integer(name, text, least, INT32_MAX, &found);
  *value = static_cast<int32_t>(found);
  return read;
}

static Outcome number(std::string_view name, const std::string& text,
                      std::optional<double>* value) {
  char* end;
  // strtod knows more: blanks, hexadecimal numbers, and words for infinity.
  const bool plain = !text.empty() && text.find_first_not_of("+-.0123456789eE") == text.npos;
  const double found = plain ? strtod(text.c_str(), &end) : 0;
  if (!plain || *end != '\0' || !isfinite(found)) {
    return wrong(format("%s is '%s', expected a number", std::string(name).c_str(), text.c_str()));
  }
  *value = found;
  return {};
}

namespace {

// One reading of the command line.
class Parser {
 public:
  Parser(int count, const char* const* words, Arguments* arguments)
      : words_(words + 1, words + (count < 1 ? 1 : count)), arguments_(*arguments) {}

  Outcome run() {
    for (; at_ < words_.size(); ++at_) {
      const std::string& word = words_[at_];
      const bool option = !only_positional_ && word.size() > 1 && word[0] == '-';
      if (option && word == "--") {
        only_positional_ = true;
        continue;
      }
      const Outcome taken = option ? this->option(word) : positional(word);
      if (!taken.ok() || arguments_.help || arguments_.version) return taken;
    }
    return complete();
  }

 private:
  Outcome positional(const std::string& word) {
    if (positionals_ == 0) arguments_.artifact = word;
    if (positionals_ == 1) arguments_.question = word;
    if (++positionals_ <= 2) return {};
    return refused(format("'%s' comes after a question, expected one question", word.c_str()),
                   "put a question into quotation marks");
  }

  Outcome option(const std::string& word) {
    const size_t equals = word.find('=');
    name_ = word.substr(0, equals);
    inside_ = equals != std::string::npos;
    text_ = inside_ ? word.substr(equals + 1) : "";
    bool* const flag = this->flag();
    if (flag != nullptr) {
      if (inside_) return wrong(format("%s has a value, expected none", name_.c_str()));
      *flag = true;
      return once(name_);
    }
    if (name_ == "--do-sample" || name_ == "--no-do-sample") {
      if (inside_) return wrong(format("%s has a value, expected none", name_.c_str()));
      const Outcome first = once("--do-sample/--no-do-sample");
      arguments_.changes.do_sample = name_ == "--do-sample";
      return first;
    }
    if (name_ == "--serve") return serve();
    return valued();
  }

  bool* flag() {
    if (name_ == "--stats") return &arguments_.stats;
    if (name_ == "--json") return &arguments_.json;
    if (name_ == "--check") return &arguments_.check;
    if (name_ == "--ignore-chat-template") return &arguments_.ignore_chat_template;
    if (name_ == "--version") return &arguments_.version;
    if (name_ == "--help" || name_ == "-h") return &arguments_.help;
    return nullptr;
  }

  // Its value may be left out, so it takes the next word only where that is an address.
  Outcome serve() {
    const bool next = !inside_ && at_ + 1 < words_.size();
    if (next && looks_like_address(words_[at_ + 1])) text_ = words_[++at_];
    arguments_.serve = text_.empty() && !inside_ ? "127.0.0.1:8080" : text_;
    return once(name_);
  }

  static bool looks_like_address(const std::string& word) {
    const size_t colon = word.rfind(':');
    if (word.rfind("unix:", 0) == 0) return true;
    return word[0] != '-' && colon != std::string::npos &&
           word.find_first_not_of("0123456789", colon + 1) == std::string::npos;
  }

  Outcome valued() {
    static const char* const known[] = {"--system",         "--threads",     "--onnxruntime",
                                        "--max-new-tokens", "--temperature", "--top-k",
                                        "--top-p",          "--min-p",       "--repetition-penalty",
                                        "--seed",           "--stop-string"};
    bool found = false;
    for (const char* name : known) found |= name_ == name;
    if (!found) return wrong(format("unrecognized arguments: %s", name_.c_str()));
    if (!inside_) {
      if (at_ + 1 >= words_.size() || words_[at_ + 1].rfind("--", 0) == 0)
        return wrong(format("%s has no value, expected one after it", name_.c_str()));
      text_ = words_[++at_];
    }
    if (name_ != "--stop-string") {
      const Outcome first = once(name_);
      if (!first.ok()) return first;
    }
    return value();
  }

  Outcome value() {
    Changes& changes = arguments_.changes;
    if (name_ == "--temperature") return number(name_, text_, &changes.temperature);
    if (name_ == "--top-p") return number(name_, text_, &changes.top_p);
    if (name_ == "--min-p") return number(name_, text_, &changes.min_p);
    if (name_ == "--repetition-penalty") return number(name_, text_, &changes.repetition_penalty);
    if (name_ == "--threads") return count(name_, text_, 0, &arguments_.threads);
    if (name_ == "--max-new-tokens")
      return count(name_, text_, 1, &changes.max_new_tokens.emplace());
    if (name_ == "--top-k") return count(name_, text_, 0, &changes.top_k.emplace());
    if (name_ == "--seed") {
      unsigned long long seed;
      const Outcome read = integer(name_, text_, 0, UINT64_MAX, &seed);
      changes.seed = seed;
      return read;
    }
    if (name_ == "--stop-string") {
      if (text_.empty()) return wrong("--stop-string is empty, expected a text");
      changes.stop_strings.push_back(text_);
    }
    if (name_ == "--system") arguments_.system = text_;
    if (name_ == "--onnxruntime") {
      if (text_.empty()) return wrong("--onnxruntime is empty, expected a file");
      arguments_.onnxruntime = text_;
    }
    return {};
  }

  Outcome once(const std::string& name) {
    for (const std::string& given : given_) {
      if (given == name)
        return wrong(format("%s is given more than once, expected it once", name.c_str()));
    }
    given_.push_back(name);
    return {};
  }

  Outcome complete() const {
    if (positionals_ == 0) return wrong("no artifact is given, expected the folder of one");
    if (arguments_.ignore_chat_template && arguments_.system)
      return wrong("--system is given with --ignore-chat-template, expected one of them");
    if (arguments_.check &&
        (arguments_.question || given_.size() > 1 || !arguments_.changes.stop_strings.empty()))
      return wrong("--check is given with another option or a question, expected it alone");
    if (!arguments_.serve) return {};
    const char* other = arguments_.question               ? "a question"
                        : arguments_.system               ? "--system"
                        : arguments_.json                 ? "--json"
                        : arguments_.ignore_chat_template ? "--ignore-chat-template"
                                                          : nullptr;
    if (other == nullptr) return {};
    return wrong(format("%s is given with --serve, expected requests to bring it", other));
  }

  const std::vector<std::string> words_;
  Arguments& arguments_;
  size_t at_ = 0;
  int positionals_ = 0;
  bool only_positional_ = false, inside_ = false;
  std::string name_, text_;
  std::vector<std::string> given_;
};

}  // namespace

Outcome parse(int count, const char* const* words, Arguments* arguments) {
  return Parser(count, words, arguments).run();
}

}  // namespace board
