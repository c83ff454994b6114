// Answers questions with the C interface of a library. Prints the kernel, and a line of ids for
// each. Arguments: the library, the artifact, ONNX Runtime's library, a file of questions that end
// with NUL.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitnet_edge.h"

static void* library;

static void* symbol(const char* name) {
  void* found = dlsym(library, name);
  if (!found) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return found;
}

static void must(bitnet_edge_code code, const bitnet_edge_error* error) {
  if (code == BITNET_EDGE_OK) return;
  fprintf(stderr, "%d: %s\n", code, error->sentence);
  exit(1);
}

#define CALL(name) ((__typeof__(&name))symbol(#name))

static char text[1 << 20];

int main(int count, char** arguments) {
  if (count != 5) return 2;
  library = dlopen(arguments[1], RTLD_NOW);
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  bitnet_edge_options options = {arguments[2], arguments[3], NULL, 1};
  bitnet_edge* engine = NULL;
  bitnet_edge_error error;
  must(CALL(bitnet_edge_open)(&options, &engine, &error), &error);
  bitnet_edge_info info;
  CALL(bitnet_edge_describe)(engine, &info);
  printf("%s\n", info.kernel);
  bitnet_edge_generation generation;
  CALL(bitnet_edge_defaults)(engine, &generation);
  generation.do_sample = 0;
  generation.max_new_tokens = 32;

  FILE* file = fopen(arguments[4], "rb");
  if (!file) return 2;
  size_t size = fread(text, 1, sizeof(text) - 1, file);
  fclose(file);
  for (const char* question = text; question < text + size; question += strlen(question) + 1) {
    must(CALL(bitnet_edge_chat_start)(engine, NULL, 0, &error), &error);
    must(CALL(bitnet_edge_chat_send)(engine, question, strlen(question), &generation, NULL, NULL,
                                     NULL, &error),
         &error);
    size_t ids_count = 0;
    const int32_t* ids = CALL(bitnet_edge_answer_ids)(engine, &ids_count);
    for (size_t i = 0; i < ids_count; ++i) printf(i ? " %d" : "%d", ids[i]);
    printf("\n");
  }
  CALL(bitnet_edge_close)(engine);
  return 0;
}
