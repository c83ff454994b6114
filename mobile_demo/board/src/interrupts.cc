#include "interrupts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

namespace board {

static_assert(std::atomic<bitnet_edge*>::is_always_lock_free, "a signal handler uses it");
static std::atomic<bitnet_edge*> answering;
static volatile sig_atomic_t last, impatient;
static int wake[2] = {-1, -1};

static void on_signal(int number) {
  const int error = errno;
  if (last != 0 && impatient && answering != nullptr) _exit(kInterrupted);
  last = number;
  // Whoever waits for a line or a request wakes up, whichever thread this is.
  (void)!write(wake[1], "", 1);
  if (bitnet_edge* const engine = answering) bitnet_edge_stop(engine);
  errno = error;
}

static void catch_one(int number) {
  struct sigaction now, ours = {};
  if (sigaction(number, nullptr, &now) != 0 || now.sa_handler == SIG_IGN) return;
  ours.sa_handler = on_signal;
  ours.sa_flags = SA_RESTART;
  sigaction(number, &ours, nullptr);
}

static Outcome make_wake() {
  if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) == 0) return {};
  return refused(format("a pipe cannot be made: %s", strerror(errno)));
}

Outcome catch_interrupts() {
  const Outcome made = make_wake();
  impatient = 1;
  if (made.ok()) catch_one(SIGINT);
  return made;
}

Outcome catch_ends() {
  const Outcome made = make_wake();
  if (!made.ok()) return made;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) catch_one(number);
  return made;
}

void now_answering(bitnet_edge* engine) { answering = engine; }

bool interrupted() { return last != 0; }
int last_signal() { return last; }
int wake_descriptor() { return wake[0]; }

void forget_interrupt() {
  char bytes[16];
  last = 0;
  while (read(wake[0], bytes, sizeof bytes) > 0) {
  }
}

}  // namespace board
