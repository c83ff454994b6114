// Pools for the tests of operators: one runs tasks in an odd order, one has real threads.
#pragma once

#include <pthread.h>

#include "platform/pool.h"
#include "testing/check.h"

// One thread, last task first: tasks must not depend on each other's order.
static void backwards(void*, size_t count, void (*task)(void*, size_t), void* argument) {
  while (count > 0) task(argument, --count);
}

struct Shared {
  void (*task)(void*, size_t);
  void* argument;
  size_t count, next;
};

static void* worker(void* p) {
  Shared* shared = static_cast<Shared*>(p);
  for (;;) {
    const size_t i = __atomic_fetch_add(&shared->next, size_t{1}, __ATOMIC_RELAXED);
    if (i >= shared->count) return nullptr;
    shared->task(shared->argument, i);
  }
}

static void threads(void*, size_t count, void (*task)(void*, size_t), void* argument) {
  Shared shared = {task, argument, count, 0};
  pthread_t other[2];
  for (pthread_t& thread : other) CHECK(pthread_create(&thread, nullptr, worker, &shared) == 0);
  worker(&shared);
  for (pthread_t& thread : other) pthread_join(thread, nullptr);
}

static const bitnet::Pool kBackwards = {backwards, nullptr}, kThreads = {threads, nullptr};

// Both pools; one where all takes ten times as long: under an emulator, as no CPU differs in the
// order of tasks, and under the thread sanitizer, as one thread has no races.
inline std::vector<bitnet::Pool> pools() {
#ifdef __SANITIZE_THREAD__
  return {kThreads};
#else
  if (emulated()) return {kBackwards};
  return {kBackwards, kThreads};
#endif
}
