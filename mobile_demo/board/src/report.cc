#include "report.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

namespace board {

std::string json_string(std::string_view text) {
  std::string made = "\"";
  for (const char c : edge::lossy(text)) {
    if (c == '"' || c == '\\') {
      made += '\\';
      made += c;
    } else if (c == '\n') {
      made += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      made += format("\\u%04x", static_cast<unsigned>(c));
    } else {
      made += c;
    }
  }
  return made += '"';
}

const char* finish_reason(bitnet_edge_finish finish) {
  switch (finish) {
    case BITNET_EDGE_FINISH_STOP:
      return "stop";
    case BITNET_EDGE_FINISH_STOP_STRING:
      return "stop_string";
    case BITNET_EDGE_FINISH_LENGTH:
      return "length";
    case BITNET_EDGE_FINISH_STOPPED:
      break;
  }
  return nullptr;
}

size_t peak_memory() {
  char text[4096] = "";
  const int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  text[size < 0 ? 0 : size] = '\0';
  const char* const line = strstr(text, "\nVmHWM:");
  return line == nullptr ? 0 : strtoull(line + strlen("\nVmHWM:"), nullptr, 10) << 10;
}

static double decode_speed(const bitnet_edge_stats& stats) {
  return stats.decode_seconds > 0 ? (stats.new_ids - 1) / stats.decode_seconds : 0;
}

std::string json_line(const Model& model, const bitnet_edge_generation& generation,
                      const Answer& answer) {
  const bitnet_edge_stats& stats = answer.stats;
  std::string line = "{\"text\": " + json_string(answer.text) + ", \"ids\": [";
  for (size_t i = 0; i < answer.ids.size(); ++i)
    line += format(i == 0 ? "%d" : ", %d", answer.ids[i]);
  const char* const reason = finish_reason(stats.finish);
  line += "], \"finish_reason\": " + (reason == nullptr ? "null" : json_string(reason));
  line += format(", \"prompt_tokens\": %d, \"stats\": {", stats.prompt_ids);
  line +=
      format("\"cached_tokens\": %d, \"new_tokens\": %d, \"forgotten_turns\": %d, \"shifts\": %d, ",
             stats.reused_ids, stats.new_ids, stats.forgotten, stats.shifts);
  line += format("\"first_token_seconds\": %.6f, \"decode_seconds\": %.6f, ", stats.first_seconds,
                 stats.decode_seconds);
  line += format("\"tokens_per_second\": %.3f, \"memory_bytes\": %zu, ", decode_speed(stats),
                 peak_memory());
  if (generation.do_sample)
    line += format("\"seed\": %llu, ", static_cast<unsigned long long>(generation.seed));
  line += format("\"threads\": %d, \"kernel\": ", model.info().threads);
  return line + json_string(model.info().kernel) + "}}\n";
}

void say_model(const Model& model) {
  const bitnet_edge_info& info = model.info();
  say("%s, %s head, %s cache, context of %d; %s %s; threads: %d; opened in %.2f s", info.name,
      info.head, info.cache, info.context_length, info.target, info.kernel, info.threads,
      model.open_seconds());
}

void say_speed(const Answer& answer) {
  const bitnet_edge_stats& stats = answer.stats;
  const std::string decode =
      stats.new_ids > 1 ? format("decode %.1f tokens/s", decode_speed(stats)) : "one token";
  say("     %d tokens, %s, first token after %.2f s (prompt of %d, %d of them kept), "
      "memory %zu MB",
      stats.new_ids, decode.c_str(), stats.first_seconds, stats.prompt_ids, stats.reused_ids,
      peak_memory() / 1000000);
}

}  // namespace board
