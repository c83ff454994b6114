/* bitnet_edge: an artifact folder that answers, for programs without Python.
 *
 * Everything is C, so that Java, Swift and other languages can call it. Texts are UTF-8 with their
 * length in bytes, and may hold NUL. A function that can fail returns a code and writes one
 * sentence into `error`, which may be NULL; nothing that it is given makes it crash. A failed call
 * leaves the engine as it was before.
 *
 * An engine has one user at a time: calls from two threads get BITNET_EDGE_BUSY, except
 * bitnet_edge_stop, which any thread may call at any time before bitnet_edge_close. */
#ifndef BITNET_EDGE_H_
#define BITNET_EDGE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  BITNET_EDGE_OK = 0,
  BITNET_EDGE_ARGUMENT = 1,    /* the caller's: an option out of range, text that is no UTF-8 */
  BITNET_EDGE_ARTIFACT = 2,    /* a file is missing, damaged, or not what the manifest says */
  BITNET_EDGE_UNSUPPORTED = 3, /* a tokenizer, template or option that this engine does not know */
  BITNET_EDGE_RUNTIME = 4,     /* ONNX Runtime or the operators failed */
  BITNET_EDGE_CONTEXT = 5,     /* the text does not fit into the context */
  BITNET_EDGE_MEMORY = 6,      /* memory ran out */
  BITNET_EDGE_BUSY = 7         /* another thread is computing */
} bitnet_edge_code;

typedef struct {
  bitnet_edge_code code;
  char sentence[1024]; /* what was found, what was expected, what to do */
} bitnet_edge_error;

typedef struct bitnet_edge bitnet_edge; /* an open artifact, its session and one conversation */

typedef struct {
  const char* folder;      /* the artifact folder */
  const char* onnxruntime; /* ONNX Runtime's library; NULL: beside the program, then the system's */
  const char* operators;   /* the custom operators' library; NULL: those linked in, or beside */
  int threads;             /* 0: one for each big core */
} bitnet_edge_options;

/* Opens a folder that `bitnet-onnx export` made. *engine is NULL where it fails. */
bitnet_edge_code bitnet_edge_open(const bitnet_edge_options* options, bitnet_edge** engine,
                                  bitnet_edge_error* error);
void bitnet_edge_close(bitnet_edge* engine); /* NULL is allowed */

/* Compares every file of a folder with the manifest's sha256, for a folder that was just copied:
 * bitnet_edge_open does so for small files alone, as Python does. */
bitnet_edge_code bitnet_edge_check(const char* folder, bitnet_edge_error* error);

typedef struct {
  const char* name;   /* of the network: "bitnet" */
  const char* head;   /* "two-step" */
  const char* cache;  /* "float32" */
  const char* target; /* "native" */
  const char* kernel; /* that the operators run, "" where they are none */
  int32_t vocab_size;
  int32_t context_length;
  int32_t threads;
  int32_t can_chat; /* 0 where chat.json is missing; then bitnet_edge_why_no_chat says why */
} bitnet_edge_info;

/* The strings live as long as the engine. */
void bitnet_edge_describe(const bitnet_edge* engine, bitnet_edge_info* info);

/* Options of generation, under transformers' names and with their meanings. */
typedef struct {
  int32_t max_new_tokens; /* 0: as many as the artifact's generation_config.json says, or 512 */
  int32_t do_sample;      /* 0: greedy */
  int32_t top_k;          /* 0: off */
  double temperature;
  double top_p;              /* 1: off */
  double min_p;              /* 0: off */
  double repetition_penalty; /* 1: off */
  uint64_t seed;             /* the same seed draws the same numbers as in the page for browsers */
  const char* const* stop_strings; /* NUL-terminated, not shown */
  size_t stop_string_count;
  int32_t when_full; /* what an answer does when it fills the context, a bitnet_edge_when_full */
} bitnet_edge_generation;

typedef enum {
  BITNET_EDGE_FULL_ENDS = 0, /* it ends there, as in Python */
  /* It goes on: the session forgets what is in the middle, and computes anew the beginning and the
   * newest half of the context. The beginning is what comes before the first message of a
   * conversation, the system prompt most often; at least 4 ids, at most a quarter of the context.
   */
  BITNET_EDGE_FULL_FORGETS = 1,
  /* As FULL_ENDS, and a conversation that is longer than the context is refused with
   * BITNET_EDGE_CONTEXT, where the others leave out its oldest turns. */
  BITNET_EDGE_FULL_REFUSES = 2
} bitnet_edge_when_full;

/* What the artifact's generation_config.json asks for, and a seed of 0. when_full is
 * BITNET_EDGE_FULL_FORGETS. */
void bitnet_edge_defaults(const bitnet_edge* engine, bitnet_edge_generation* generation);

/* Text to ids, as the checkpoint's own tokenizer makes them. special: the tokenizer's own bos and
 * the like are added, and special tokens in the text are ids; without it the text is only text.
 * Writes at most `room` ids and always the full count. */
bitnet_edge_code bitnet_edge_encode(bitnet_edge* engine, const char* text, size_t bytes,
                                    int special, int32_t* ids, size_t room, size_t* count,
                                    bitnet_edge_error* error);
/* Ids to text; special tokens are left out. Writes at most `room` bytes and always the full count.
 */
bitnet_edge_code bitnet_edge_decode(bitnet_edge* engine, const int32_t* ids, size_t count,
                                    char* text, size_t room, size_t* bytes,
                                    bitnet_edge_error* error);

/* Gets each piece of an answer: whole UTF-8 characters, none of them where an id shows no text yet.
 * A value other than 0 stops the answer. */
typedef int (*bitnet_edge_piece)(const char* text, size_t bytes, void* user);

typedef enum {
  BITNET_EDGE_FINISH_STOP = 0,        /* an end-of-sequence token */
  BITNET_EDGE_FINISH_STOP_STRING = 1, /* one of stop_strings */
  BITNET_EDGE_FINISH_LENGTH = 2,      /* max_new_tokens, or the context is full: see when_full */
  BITNET_EDGE_FINISH_STOPPED = 3      /* by the caller */
} bitnet_edge_finish;

typedef struct {
  bitnet_edge_finish finish;
  int32_t prompt_ids;    /* of the whole prompt */
  int32_t reused_ids;    /* of them, in the cache already */
  int32_t new_ids;       /* the answer's, its end-of-sequence token included */
  int32_t forgotten;     /* turns of the conversation that the context had no room for */
  int32_t shifts;        /* how often the answer filled the context and went on */
  double first_seconds;  /* from the call to the first id */
  double decode_seconds; /* from the first id to the last one */
} bitnet_edge_stats;

/* Continues ids. The cache keeps what it has in common with them. The new ids can be read with
 * bitnet_edge_answer_ids. generation may be NULL for the defaults, and piece and stats for none. */
bitnet_edge_code bitnet_edge_generate(bitnet_edge* engine, const int32_t* ids, size_t count,
                                      const bitnet_edge_generation* generation,
                                      bitnet_edge_piece piece, void* user, bitnet_edge_stats* stats,
                                      bitnet_edge_error* error);

/* Starts a conversation; system may be NULL. The cache keeps what the next one has in common. */
bitnet_edge_code bitnet_edge_chat_start(bitnet_edge* engine, const char* system, size_t bytes,
                                        bitnet_edge_error* error);
/* Adds a turn that was saved before, so that a conversation goes on after a restart. */
bitnet_edge_code bitnet_edge_chat_add(bitnet_edge* engine, const char* user_text, size_t user_bytes,
                                      const char* answer, size_t answer_bytes,
                                      bitnet_edge_error* error);
/* Answers a message. The answer, as far as it was given, becomes a turn of the conversation. */
bitnet_edge_code bitnet_edge_chat_send(bitnet_edge* engine, const char* text, size_t bytes,
                                       const bitnet_edge_generation* generation,
                                       bitnet_edge_piece piece, void* user,
                                       bitnet_edge_stats* stats, bitnet_edge_error* error);
/* Why this artifact has no conversation; NULL where it has one. */
const char* bitnet_edge_why_no_chat(const bitnet_edge* engine);

/* The ids of the last answer; they live until the next call. */
const int32_t* bitnet_edge_answer_ids(const bitnet_edge* engine, size_t* count);

/* Ends the answer in progress after the id that is being computed. */
void bitnet_edge_stop(bitnet_edge* engine);

#ifdef __cplusplus
}
#endif

#endif
