// How an operator spreads work over threads that it does not own.
#pragma once

#include <stddef.h>

namespace bitnet {

struct Pool {
  // Calls task(argument, i) once for every i < count, in any order, and waits for all of them.
  void (*run)(void* self, size_t count, void (*task)(void* argument, size_t i), void* argument);
  void* self;
};

template <typename Body>
void parallel(const Pool& pool, size_t count, const Body& body) {
  if (count == 1) return body(0);
  if (count == 0) return;
  pool.run(
      pool.self, count, [](void* b, size_t i) { (*static_cast<const Body*>(b))(i); },
      const_cast<Body*>(&body));
}

// Calls body(i) for all i < m rows of k activations, in tasks of some 10 us.
template <typename Body>
void for_rows(const Pool& pool, size_t m, size_t k, const Body& body) {
  const size_t each = 16384 / k + 1;
  parallel(pool, (m + each - 1) / each, [&](size_t task) {
    for (size_t i = task * each; i < m && i < (task + 1) * each; i++) body(i);
  });
}

// A task should read this many bytes of weights, which takes some microseconds: to hand it to
// another thread takes about one.
constexpr size_t kTaskBytes = 128 * 1024;

// Rows of each task, so that all tasks have one size, their number divides well by the number of
// threads, and a task has at most `limit` rows, a multiple of `step`.
inline size_t rows_per_task(size_t rows, size_t row_bytes, size_t step, size_t limit) {
  const size_t bytes = rows * row_bytes;
  size_t tasks = bytes / kTaskBytes;
  if (tasks < 2)
    tasks = 1;
  else
    tasks = (tasks + 7) / 8 * 8;
  size_t per_task = ((rows + tasks - 1) / tasks + step - 1) / step * step;
  return per_task < limit ? per_task : limit;
}

// The same for a product with m activation rows: many are worth 8 tasks though the weights are few.
inline size_t rows_per_task_of(size_t m, size_t rows, size_t row_bytes, size_t step, size_t limit) {
  const size_t eighth = ((rows + 7) / 8 + step - 1) / step * step;
  if (m >= 16 && eighth < limit) limit = eighth;
  return rows_per_task(rows, row_bytes, step, limit);
}

}  // namespace bitnet
