#include "serve/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "interrupts.h"
#include "model.h"
#include "report.h"
#include "serve/completions.h"
#include "serve/http.h"
#include "serve/listen.h"
#include "serve/reply.h"

namespace board {

static constexpr size_t kConnections = 16;  // a client more waits in the system's queue
// From the connection to the request's last byte, without the time of answers to others.
static constexpr double kRequestSeconds = 10;

namespace {

struct Connection {
  Connection(int accepted, double last) : descriptor(accepted), until(last) {}
  Connection(const Connection&) = delete;
  ~Connection() { close(descriptor); }

  int descriptor;
  double until;  // of the server's clock
  Request request;
};

class Server {
 public:
  explicit Server(const Arguments& arguments) : arguments_(arguments) {}

  Outcome open();
  Outcome run();

 private:
  void accept_one();
  double clock() const { return now() - answering_; }  // an answer keeps the others waiting
  bool read_from(Connection& connection);              // false: it is done with
  void refuse(Connection& connection);
  void end(Connection& connection);
  void answer(const Request& request, Client& client);
  void complete(const Request& request, Client& client);
  Outcome prepare(const Completion& asked, std::string* field);

  const Arguments& arguments_;
  Listener listener_;
  Model model_;
  std::string name_;
  long long answers_ = 0;
  double answering_ = 0;  // seconds of all answers
  std::vector<std::unique_ptr<Connection>> connections_;
};

// The last part of the folder's path: what clients call the model.
std::string name_of(std::string folder) {
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  return folder.substr(folder.rfind('/') + 1);
}

Outcome Server::open() {
  Asked asked;
  Outcome done = listener_.open(*arguments_.serve);
  if (!done.ok()) return done;
  const char* const onnxruntime =
      arguments_.onnxruntime ? arguments_.onnxruntime->c_str() : nullptr;
  done = model_.open(arguments_.artifact, onnxruntime, arguments_.threads);
  if (done.ok()) done = model_.can_chat();
  if (done.ok()) done = changed(model_.defaults(), arguments_.changes, Names::kOptions, &asked);
  if (!done.ok()) return done;
  name_ = name_of(arguments_.artifact);
  if (arguments_.stats) say_model(model_);
  say("serving %s on %s; Ctrl-C ends", name_.c_str(), listener_.url().c_str());
  return done;
}

Outcome Server::run() {
  while (last_signal() == 0) {
    std::vector<pollfd> watched = {{wake_descriptor(), POLLIN, 0}};
    const bool room = connections_.size() < kConnections;
    watched.push_back({room ? listener_.descriptor() : -1, POLLIN, 0});
    double until = clock() + 3600;
    for (const auto& connection : connections_) {
      watched.push_back({connection->descriptor, POLLIN, 0});
      until = std::min(until, connection->until);
    }
    const int milliseconds = static_cast<int>(std::max(0.0, until - clock()) * 1000) + 1;
    if (poll(watched.data(), watched.size(), milliseconds) < 0 && errno != EINTR)
      return refused(format("waiting for requests failed: %s", strerror(errno)));
    std::vector<std::unique_ptr<Connection>> kept;
    for (size_t i = 0; i < connections_.size(); ++i) {
      Connection& connection = *connections_[i];
      bool goes_on = watched[i + 2].revents == 0 || read_from(connection);
      if (goes_on && clock() >= connection.until) {
        connection.request.expire(kRequestSeconds);
        refuse(connection);
        goes_on = false;
      }
      if (goes_on) kept.push_back(std::move(connections_[i]));
      if (last_signal() != 0) break;
    }
    connections_ = std::move(kept);
    if (watched[1].revents != 0) accept_one();
  }
  return {last_signal() == SIGINT ? kInterrupted : 0, "", "", false};
}

void Server::accept_one() {
  const int accepted =
      accept4(listener_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (accepted >= 0) {
    connections_.push_back(std::make_unique<Connection>(accepted, clock() + kRequestSeconds));
  } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
    poll(nullptr, 0, 100);  // the system has none left: wait for one
  }
}

bool Server::read_from(Connection& connection) {
  char bytes[16384];
  const ssize_t size = recv(connection.descriptor, bytes, sizeof bytes, 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) return false;
  Request& request = connection.request;
  const Request::State state = request.add(std::string_view(bytes, static_cast<size_t>(size)));
  Client client(connection.descriptor, request.method() == "HEAD");
  if (state == Request::kIncomplete) {
    if (request.wants_continue()) client.send("HTTP/1.1 100 Continue\r\n\r\n");
    return true;
  }
  if (state == Request::kRefused) {
    refuse(connection);
  } else {
    const double begun = now();
    answer(request, client);
    answering_ += now() - begun;
    end(connection);
  }
  return false;
}

void Server::refuse(Connection& connection) {
  const Request& request = connection.request;
  Client client(connection.descriptor, request.method() == "HEAD");
  client.reply(refusal(request.status(), request.sentence(), ""));
  end(connection);
}

// Bytes that are not read yet would make the system break off what was sent.
void Server::end(Connection& connection) {
  char bytes[16384];
  shutdown(connection.descriptor, SHUT_WR);
  for (int i = 0; i < 64 && recv(connection.descriptor, bytes, sizeof bytes, 0) > 0; ++i) {
  }
}

void Server::answer(const Request& request, Client& client) {
  const std::string target = request.target().substr(0, request.target().find('?'));
  const bool completions = target == "/v1/chat/completions", list = target == "/v1/models",
             one = target == "/v1/models/" + name_;
  const bool gets = request.method() == "GET" || request.method() == "HEAD";
  if (!completions && !list && !one) {
    client.reply(
        refusal(404, "the path is unknown, expected /v1/chat/completions or /v1/models", ""));
  } else if (completions ? request.method() != "POST" : !gets) {
    client.reply(refusal(
        405,
        format("the method is another, expected %s of this path", completions ? "POST" : "GET"),
        ""));
  } else if (!completions) {
    client.reply(list ? models(name_) : one_model(name_));
  } else {
    complete(request, client);
  }
}

Outcome Server::prepare(const Completion& asked, std::string* field) {
  *field = "model";
  if (asked.model && *asked.model != name_)
    return refused("model is another one, expected " + name_);
  *field = "messages";
  Outcome done = model_.start(asked.system);
  for (size_t i = 0; done.ok() && i < asked.turns.size(); ++i)
    done = model_.add(asked.turns[i].first, asked.turns[i].second);
  return done;
}

void Server::complete(const Request& request, Client& client) {
  Completion asked;
  Asked options;
  std::string field;
  Outcome done = parse_completion(request.body(), &asked, &field);
  if (done.ok()) {
    Changes changes = arguments_.changes;  // what the server was started with
    changes.take(asked.changes);
    done = changed(model_.defaults(), changes, Names::kFields, &options);
  }
  if (done.ok()) done = prepare(asked, &field);
  if (!done.ok()) {
    client.send(refusal(400, done.sentence, field));
    return;
  }
  const Label label = {format("chatcmpl-%lld", ++answers_), name_,
                       static_cast<long long>(time(nullptr))};
  bool begun = false;
  const auto begin = [&] {
    if (!begun) client.send(kStreamHead + first_chunk(label));
    begun = true;
  };
  const Model::Piece piece = [&](std::string_view shown) {
    if (!asked.stream) return !client.is_gone();
    begin();
    return (shown.empty() || client.send(chunk(label, shown))) && !client.is_gone();
  };
  options.generation.when_full = BITNET_EDGE_FULL_REFUSES;
  Answer given;
  done = model_.send(asked.question, options.generation, piece, &given);
  if (last_signal() != 0) {
    if (!begun) client.send(refusal(503, "the server ends, expected a later request", ""));
  } else if (!done.ok() && begun) {
    report(done);
    client.send("data: " + json_error(500, done.sentence, "") + "\n");
  } else if (!done.ok()) {
    const bool full = given.code == BITNET_EDGE_CONTEXT;
    const bool of_client =
        full || given.code == BITNET_EDGE_ARGUMENT || given.code == BITNET_EDGE_UNSUPPORTED;
    if (!of_client) report(done);
    client.send(refusal(of_client ? 400 : 500, done.sentence, of_client ? "messages" : "",
                        full ? "context_length_exceeded" : ""));
  } else if (asked.stream) {
    begin();
    client.send(last_chunks(label, given.stats, asked.include_usage));
  } else {
    client.send(completion(label, given.text, given.stats));
  }
  if (done.ok() && arguments_.stats) say_speed(given);
}

}  // namespace

Outcome serve(const Arguments& arguments) {
  Outcome done = catch_ends();
  Server server(arguments);
  if (done.ok()) done = server.open();
  return done.ok() ? server.run() : done;
}

}  // namespace board
