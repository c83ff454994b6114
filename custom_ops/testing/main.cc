// Runs the tests of a program: all, or those of the suites that the arguments name.
#include "testing/check.h"

int failures = 0;
char current_case[256] = "start";

static Test *first, *last;  // null before any constructor runs

Test::Test(const char* suite, const char* name, void (*run)())
    : suite(suite), name(name), run(run), next(nullptr) {
  (first ? last->next : first) = this;
  last = this;
}

static bool named(const Test& test, int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], test.suite) == 0) return true;
  }
  return argc == 1;
}

int main(int argc, char** argv) {
  size_t count = 0;
  printf("kernels: %s\n", bitnet::offered_names());
  for (const Test* test = first; test; test = test->next) {
    if (!named(*test, argc, argv)) continue;
    CASE("%s %s", test->suite, test->name);
    printf("%s %s\n", test->suite, test->name);
    fflush(stdout);
    test->run();
    count++;
  }
  printf("%zu tests, %d failures\n", count, failures);
  return failures != 0 || count == 0;
}
