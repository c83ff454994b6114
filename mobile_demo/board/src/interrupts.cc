#include "interrupts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "outcome.h"

namespace board {

static_assert(std::atomic<bitnet_edge*>::is_always_lock_free, "a signal handler uses it");
static std::atomic<bitnet_edge*> answering;
static volatile sig_atomic_t seen, ending;
static int wake[2] = {-1, -1};

static void on_signal(int number) {
  const int error = errno;
  if (wake[1] >= 0) {
    ending = number;
    const ssize_t ignored = write(wake[1], "", 1);
    (void)ignored;
  } else if (seen && answering != nullptr) {
    _exit(kInterrupted);
  }
  seen = 1;
  if (bitnet_edge* const engine = answering) bitnet_edge_stop(engine);
  errno = error;
}

static void catch_one(int number) {
  struct sigaction now, ours = {};
  if (sigaction(number, nullptr, &now) != 0 || now.sa_handler == SIG_IGN) return;
  ours.sa_handler = on_signal;  // without SA_RESTART: reading a message ends
  sigaction(number, &ours, nullptr);
}

void catch_interrupts() { catch_one(SIGINT); }

void catch_ends() {
  if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) wake[0] = wake[1] = -1;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) catch_one(number);
}

void now_answering(bitnet_edge* engine) { answering = engine; }

bool interrupted() { return seen != 0; }
void forget_interrupt() { seen = 0; }
int wake_descriptor() { return wake[0]; }
int end_signal() { return ending; }

}  // namespace board
