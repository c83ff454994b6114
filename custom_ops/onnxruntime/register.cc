// Everything that the library exports.
#ifdef _WIN32
#define BITNET_ONNX_EXPORT __declspec(dllexport)
#else
#define BITNET_ONNX_EXPORT __attribute__((visibility("default")))
#endif
#include "include/bitnet_onnx_ops.h"
#include "onnxruntime/registration.h"

using namespace bitnet;

OrtStatus* BITNET_ONNX_CALL RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  return add_operators(options, base);
}

const char* bitnet_onnx_version(void) { return BITNET_ONNX_VERSION; }

const char* bitnet_onnx_kernels(void) { return offered_names(); }

const char* bitnet_onnx_active_kernel(void) {
  const Kernels* kernels = find_kernels(forced_name());
  return kernels ? kernels->name : nullptr;
}

uint64_t bitnet_onnx_read(const void* data, size_t bytes) {
  const Kernels* kernels = find_kernels(forced_name());
  return kernels ? kernels->read(static_cast<const uint8_t*>(data), bytes) : 0;
}

uint64_t bitnet_onnx_counters_new(void) {
  const Counters* counters = new_counters();
  return counters ? counters->id : 0;
}

void bitnet_onnx_counters_free(uint64_t id) { free_counters(id); }

uint64_t bitnet_onnx_counters_nanoseconds(uint64_t id, const char* operator_name) {
  const Counters* counters = find_counters(id);
  const size_t index = operator_index(operator_name);
  return counters && index < kOperatorCount ? read_count(counters->nanoseconds[index]) : 0;
}

static uint64_t counted(uint64_t id, Count Counters::* count) {
  const Counters* counters = find_counters(id);
  return counters ? read_count(counters->*count) : 0;
}

uint64_t bitnet_onnx_counters_skipped_rows(uint64_t id) {
  return counted(id, &Counters::skipped_rows);
}

uint64_t bitnet_onnx_counters_skipped_columns(uint64_t id) {
  return counted(id, &Counters::skipped_columns);
}

uint64_t bitnet_onnx_counters_skipped_head(uint64_t id) {
  return counted(id, &Counters::skipped_head);
}

uint64_t bitnet_onnx_counters_skipped_experts(uint64_t id) {
  return counted(id, &Counters::skipped_experts);
}
