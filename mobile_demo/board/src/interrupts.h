// Ctrl-C, and for a server the signals to end.
#pragma once

#include "bitnet_edge.h"
#include "outcome.h"

namespace board {

// Ctrl-C stops an answer; a second one, which waits for nothing, ends the program. A signal that is
// ignored, as for a job in the background, stays so.
Outcome catch_interrupts();
// SIGTERM and SIGHUP too stop the answer.
Outcome catch_ends();

// The answer in progress is this engine's; null: there is none.
void now_answering(bitnet_edge* engine);

bool interrupted();  // since the last forget_interrupt
void forget_interrupt();
int wake_descriptor();  // readable once a signal has come; -1 before signals are caught
int last_signal();      // 0: none has come

}  // namespace board
