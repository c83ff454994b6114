/* Uses the public header in C99 and, through test.cc, in C++, together with ONNX Runtime's. */
#include "bitnet_onnx_ops.h"
/* twice */
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <string.h>

#include "bitnet_onnx_ops.h"

#define CHECK(condition) \
  if (!(condition)) return fprintf(stderr, "line %d: %s\n", __LINE__, #condition), 1

int main(void) {
  struct OrtStatus*(BITNET_ONNX_CALL * add)(struct OrtSessionOptions*, const struct OrtApiBase*) =
      RegisterCustomOps;
  const uint64_t words[3] = {1, 2, 4};
  const uint64_t id = bitnet_onnx_counters_new();
  CHECK(add != NULL);
  CHECK(strlen(bitnet_onnx_version()) >= 5);
  CHECK(strstr(bitnet_onnx_kernels(), "scalar") != NULL);
  CHECK(strstr(bitnet_onnx_kernels(), bitnet_onnx_active_kernel()) != NULL);
  CHECK(bitnet_onnx_read(words, sizeof words) == 7);
  CHECK(id != 0);
  CHECK(bitnet_onnx_counters_nanoseconds(id, "TernaryMatMul") == 0);
  CHECK(bitnet_onnx_counters_skipped_rows(id) == 0);
  CHECK(bitnet_onnx_counters_skipped_columns(id) == 0);
  CHECK(bitnet_onnx_counters_skipped_head(id) == 0);
  bitnet_onnx_counters_free(id);
  return 0;
}
