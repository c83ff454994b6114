#include "serve/reply.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "model.h"
#include "report.h"

namespace board {

bool Client::send(std::string_view bytes) {
  while (!bytes.empty() && !gone_) {
    const ssize_t size = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size >= 0) {
      bytes.remove_prefix(static_cast<size_t>(size));
    } else if (errno == EAGAIN && patience_ > 0) {
      const double begun = now();
      pollfd ready = {descriptor_, POLLOUT, 0};
      poll(&ready, 1, static_cast<int>(patience_ * 1000) + 1);
      patience_ -= now() - begun;
    } else if (errno != EINTR) {
      gone_ = true;
    }
  }
  return !gone_;
}

bool Client::reply(std::string_view whole) {
  return send(head_only_ ? whole.substr(0, whole.find("\r\n\r\n") + 4) : whole);
}

bool Client::is_gone() const {
  char byte;
  const ssize_t size = recv(descriptor_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return gone_ || size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

static const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Internal Server Error";
  }
}

std::string response(int status, std::string_view content_type, std::string_view body) {
  std::string made = format("HTTP/1.1 %d %s\r\nContent-Type: ", status, reason(status));
  made += content_type;
  made += format("\r\nContent-Length: %zu\r\nConnection: close\r\n", body.size());
  if (status == 405) made += "Allow: GET, POST\r\n";
  made += "X-Content-Type-Options: nosniff\r\n\r\n";
  return made.append(body);
}

const char kStreamHead[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n";

static std::string json_or_null(std::string_view text) {
  return text.empty() ? "null" : json_string(text);
}

std::string json_error(int status, const std::string& sentence, const std::string& field,
                       const char* code) {
  const bool of_client = status < 500 || status == 505;
  return "{\"error\": {\"message\": " + json_string(sentence) +
         ", \"type\": " + json_string(of_client ? "invalid_request_error" : "server_error") +
         ", \"param\": " + json_or_null(field) + ", \"code\": " + json_or_null(code) + "}}\n";
}

std::string refusal(int status, const std::string& sentence, const std::string& field,
                    const char* code) {
  return response(status, "application/json", json_error(status, sentence, field, code));
}

static std::string usage(const bitnet_edge_stats& stats) {
  return format(
      "{\"prompt_tokens\": %d, \"completion_tokens\": %d, \"total_tokens\": %d, "
      "\"prompt_tokens_details\": {\"cached_tokens\": %d}, \"forgotten_turns\": %d}",
      stats.prompt_ids, stats.new_ids, stats.prompt_ids + stats.new_ids, stats.reused_ids,
      stats.forgotten);
}

// OpenAI has one word for an end by a token and by a text.
static const char* reason(const bitnet_edge_stats& stats) {
  return stats.finish == BITNET_EDGE_FINISH_LENGTH ? "length" : "stop";
}

static std::string opening(const Label& label, const char* object) {
  return "{\"id\": " + json_string(label.id) + ", \"object\": \"" + object +
         format("\", \"created\": %lld, \"model\": ", label.created) + json_string(label.model);
}

std::string completion(const Label& label, const std::string& text,
                       const bitnet_edge_stats& stats) {
  const std::string body =
      opening(label, "chat.completion") +
      ", \"choices\": [{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": " +
      json_string(text) +
      "}, \"logprobs\": null, \"finish_reason\": " + json_string(reason(stats)) +
      "}], \"usage\": " + usage(stats) + "}\n";
  return response(200, "application/json", body);
}

static std::string event(const Label& label, const std::string& delta, const char* finish,
                         bool has_choice = true) {
  std::string made = "data: " + opening(label, "chat.completion.chunk") + ", \"choices\": [";
  if (has_choice) {
    made += "{\"index\": 0, \"delta\": " + delta +
            ", \"finish_reason\": " + (finish == nullptr ? "null" : json_string(finish)) + "}";
  }
  return made + "]";
}

std::string first_chunk(const Label& label) {
  return event(label, "{\"role\": \"assistant\", \"content\": \"\"}", nullptr) + "}\n\n";
}

std::string chunk(const Label& label, std::string_view piece) {
  return event(label, "{\"content\": " + json_string(piece) + "}", nullptr) + "}\n\n";
}

std::string last_chunks(const Label& label, const bitnet_edge_stats& stats, bool include_usage) {
  std::string made = event(label, "{}", reason(stats)) + "}\n\n";
  if (include_usage)
    made += event(label, "", nullptr, false) + ", \"usage\": " + usage(stats) + "}\n\n";
  return made + "data: [DONE]\n\n";
}

static std::string object_of(const std::string& model) {
  return "{\"id\": " + json_string(model) +
         ", \"object\": \"model\", \"created\": 0, \"owned_by\": \"local\"}";
}

std::string models(const std::string& model) {
  return response(200, "application/json",
                  "{\"object\": \"list\", \"data\": [" + object_of(model) + "]}\n");
}

std::string one_model(const std::string& model) {
  return response(200, "application/json", object_of(model) + "\n");
}

}  // namespace board
