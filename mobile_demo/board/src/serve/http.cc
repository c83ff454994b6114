#include "serve/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <algorithm>

#include "outcome.h"

namespace board {

static std::string_view trimmed(std::string_view text) {
  while (!text.empty() && strchr(" \t", text.front()) != nullptr) text.remove_prefix(1);
  while (!text.empty() && strchr(" \t", text.back()) != nullptr) text.remove_suffix(1);
  return text;
}

static bool same_word(std::string_view left, std::string_view right) {
  return left.size() == right.size() && strncasecmp(left.data(), right.data(), left.size()) == 0;
}

// A name or value that a sentence can repeat.
static std::string shown(std::string_view text) {
  std::string made(text.substr(0, 80));
  for (char& c : made)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
  return made;
}

bool is_own_host(std::string_view host) {
  const size_t colon = host.rfind(':'), bracket = host.rfind(']');
  const bool port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || bracket < colon);
  if (port) {
    const std::string_view digits = host.substr(colon + 1);
    if (digits.size() > 5 || digits.find_first_not_of("0123456789") != digits.npos) return false;
    if (atoi(std::string(digits).c_str()) > 65535) return false;
    host = host.substr(0, colon);
  }
  for (const char* own : {"localhost", "127.0.0.1", "[::1]"})
    if (same_word(host, own)) return true;
  return false;
}

Request::State Request::refuse(int status, std::string sentence) {
  status_ = status;
  sentence_ = std::move(sentence);
  refused_ = true;
  return kRefused;
}

Request::State Request::add(std::string_view bytes) {
  if (refused_) return kRefused;
  bytes_.append(bytes);
  if (body_at_ == 0) {
    const size_t end = bytes_.find("\r\n\r\n");
    if (end == std::string::npos ? bytes_.size() > kHeadBytes : end > kHeadBytes)
      return refuse(431, format("the head has more than %zu bytes, expected fewer", kHeadBytes));
    if (end == std::string::npos) return kIncomplete;
    body_at_ = end + 4;
    const std::string text = bytes_.substr(0, end);
    if (head(text) == kRefused) return kRefused;
  }
  return complete();
}

Request::State Request::head(std::string_view text) {
  const size_t first = text.find("\r\n");
  const std::string_view line = text.substr(0, first);
  const size_t space = line.find(' '), second = line.find(' ', space + 1);
  if (space == line.npos || second == line.npos || space == 0 ||
      line.find(' ', second + 1) != line.npos)
    return refuse(400, "the first line is not that of a request");
  method_ = line.substr(0, space);
  target_ = line.substr(space + 1, second - space - 1);
  constexpr std::string_view scheme = "http://";  // as a client writes it to a proxy
  if (same_word(target_.substr(0, scheme.size()), scheme)) {
    const size_t path = std::min(target_.find('/', scheme.size()), target_.size());
    if (!is_own_host(target_.substr(scheme.size(), path - scheme.size())))
      return refuse(403, "the target is of another host, expected localhost, 127.0.0.1 or [::1]");
    target_.erase(0, path);
  }
  if (line.substr(second + 1) != "HTTP/1.1" && line.substr(second + 1) != "HTTP/1.0")
    return refuse(505, "the request's version is unknown, expected HTTP/1.1");
  for (size_t at = first; at != text.npos;) {
    const size_t next = text.find("\r\n", at + 2);
    const size_t size = next == text.npos ? next : next - at - 2;
    if (field(text.substr(at + 2, size)) == kRefused) return kRefused;
    at = next;
  }
  if (hosts_ != 1) return refuse(400, "there is not one Host, expected one");
  if (method_ != "POST") {
    if (length_ > 0) return refuse(400, "a body comes with " + shown(method_) + ", expected none");
  } else if (lengths_ != 1) {
    return refuse(411, "there is not one Content-Length, expected one");
  } else if (!json_) {  // a page of another site may send other types without being asked first
    return refuse(415, "the Content-Type is another, expected application/json");
  }
  return kIncomplete;
}

Request::State Request::field(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == line.npos || colon == 0 || line.find_first_of(" \t") < colon)
    return refuse(400, "a line of the head is not a name and a value: " + shown(line));
  const std::string_view name = line.substr(0, colon), value = trimmed(line.substr(colon + 1));
  if (same_word(name, "Host")) {
    ++hosts_;
    if (!is_own_host(value)) {
      return refuse(403,
                    "the host is " + shown(value) + ", expected localhost, 127.0.0.1 or [::1]");
    }
  } else if (same_word(name, "Content-Length")) {
    ++lengths_;
    if (value.empty() || value.find_first_not_of("0123456789") != value.npos)
      return refuse(400, "the Content-Length is " + shown(value) + ", expected a number");
    for (const char digit : value) {
      length_ = length_ * 10 + static_cast<size_t>(digit - '0');
      if (length_ > kBodyBytes) {
        return refuse(
            413, format("the body has more than %zu bytes, expected at most so many", kBodyBytes));
      }
    }
  } else if (same_word(name, "Content-Type")) {
    json_ = same_word(trimmed(value.substr(0, value.find(';'))), "application/json");
  } else if (same_word(name, "Transfer-Encoding") || same_word(name, "Content-Encoding")) {
    return refuse(411, "the body is encoded, expected a plain one and its Content-Length");
  } else if (same_word(name, "Expect")) {
    if (!same_word(value, "100-continue"))
      return refuse(417, "Expect is " + shown(value) + ", expected 100-continue");
    expects_ = true;
  }
  return kIncomplete;
}

Request::State Request::complete() {
  const size_t came = bytes_.size() - body_at_;
  if (came > length_) return refuse(400, "more bytes follow the body, expected one request");
  return came == length_ ? kComplete : kIncomplete;
}

void Request::expire(double seconds) {
  refuse(408,
         format("the request is not complete after %.0f seconds, expected all of it", seconds));
}

bool Request::wants_continue() {
  const bool wants = expects_ && !refused_ && bytes_.size() == body_at_ && length_ > 0;
  expects_ = false;
  return wants;
}

}  // namespace board
