// Requests of every kind, whole and in pieces, and ones that are damaged at random.
#include <string.h>

#include <string>

#include "serve/completions.h"
#include "serve/http.h"
#include "testing/check.h"

using board::Completion;
using board::Request;

static const std::string kBody =
    R"({"model": "m", "stream": true, "temperature": 0.5, "stop": ["a", "b"], "seed": 7, "messages":)"
    R"( [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant",)"
    R"( "content": "a"}, {"role": "user", "content": "q \u00e9\u0000"}]})";

static std::string with_body(const std::string& body, const std::string& fields) {
  return "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: "
         "application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n" + fields + "\r\n" + body;
}

static Request::State whole(const std::string& bytes, Request* request) {
  return request->add(bytes);
}

static void test_pieces() {
  const std::string bytes = with_body(kBody, "");
  for (size_t size = 1; size < 40; ++size) {
    CASE("pieces of %zu", size);
    Request request;
    Request::State state = Request::kIncomplete;
    for (size_t at = 0; at < bytes.size(); at += size) {
      CHECK(state == Request::kIncomplete);
      state = request.add(bytes.substr(at, size));
    }
    CHECK(state == Request::kComplete);
    CHECK(request.method() == "POST" && request.target() == "/v1/chat/completions");
    CHECK(request.body() == kBody);
  }
}

static void test_heads() {
  const struct {
    std::string bytes;
    int status;
  } cases[] = {
      {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 0},
      {"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", 0},
      {"GET / HTTP/1.1\r\nhost:[::1]:8080\r\n\r\n", 0},
      {"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
      {"GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 403},
      {"GET / HTTP/1.1\r\nHost: localhost:80@evil\r\n\r\n", 403},
      {"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/2\r\nHost: localhost\r\n\r\n", 505},
      {"GET /\r\n\r\n", 400},
      {"\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n folded: x\r\nHost: localhost\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nmore", 400},
      {"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 411},
      {"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 411},
      {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 415},
      {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -2\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: something\r\n\r\n", 417},
      {std::string(20000, 'a'), 431},
      {"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + std::string(20000, 'a') + "\r\n\r\n", 431},
      {with_body("{}", "Content-Length: 2\r\n"), 411},
      {with_body("{}", ""), 0},
  };
  for (const auto& one : cases) {
    CASE("%.60s", one.bytes.c_str());
    Request request;
    const Request::State state = whole(one.bytes, &request);
    CHECK(request.status() == one.status);
    CHECK(state == (one.status == 0 ? Request::kComplete : Request::kRefused));
    CHECK(one.status == 0 || !request.sentence().empty());
  }
  Request waits;
  CHECK(waits.add("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n") == Request::kIncomplete);
  CHECK(waits.wants_continue() && !waits.wants_continue());
  CHECK(waits.add("{}") == Request::kComplete);
}

static void test_bodies() {
  Completion completion;
  std::string field;
  CASE("the whole");
  CHECK(board::parse_completion(kBody, &completion, &field).ok());
  CHECK(completion.stream && completion.model == "m" && completion.system == "s");
  CHECK(completion.turns.size() == 1 && completion.turns[0].second == "a");
  CHECK(completion.question == std::string("q \xc3\xa9\0", 5));
  CHECK(completion.changes.seed == 7u && completion.changes.stop_strings.size() == 2);
}

static void test_damaged() {
  Random random = {1};
  const std::string start = with_body(kBody, "");
  for (int round = 0; round < 100000; ++round) {
    CASE("round %d", round);
    std::string bytes = start;
    for (size_t i = random.below(4) + 1; i > 0; --i) {
      const size_t at = random.below(bytes.size());
      switch (random.below(4)) {
        case 0:
          bytes[at] = static_cast<char>(random.next());
          break;
        case 1:
          bytes.erase(at, random.below(20));
          break;
        case 2:
          bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(20)));
          break;
        default:
          bytes[at] = "{}[]\",:\\u0-e"[random.below(12)];
          break;
      }
    }
    Request request;
    const size_t cut = random.below(bytes.size());
    Request::State state = request.add(bytes.substr(0, cut));
    if (state == Request::kIncomplete) state = request.add(bytes.substr(cut));
    CHECK(state != Request::kRefused || !request.sentence().empty());
    Completion completion;
    std::string field;
    const size_t body = bytes.find('{');
    if (body == std::string::npos) continue;
    const auto parsed = board::parse_completion(bytes.substr(body), &completion, &field);
    CHECK(parsed.ok() || !parsed.sentence.empty());
  }
}

int main() {
  test_pieces();
  test_heads();
  test_bodies();
  test_damaged();
  return failures != 0;
}
