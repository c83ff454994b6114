// Ctrl-C, and for a server the signals to end.
#pragma once

#include "bitnet_edge.h"

namespace board {

// Ctrl-C stops an answer; a second one, which waits for nothing, ends the program. A signal that is
// ignored, as for a job in the background, stays so.
void catch_interrupts();
// SIGTERM and SIGHUP too stop the answer and are noted.
void catch_ends();

// The answer in progress is this engine's; null: there is none.
void now_answering(bitnet_edge* engine);

bool interrupted();  // since the last forget_interrupt
void forget_interrupt();
int wake_descriptor();  // readable once a signal to end has come
int end_signal();       // that signal, or 0

}  // namespace board
