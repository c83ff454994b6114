// The operators as ONNX Runtime knows them.
#pragma once

#include "onnxruntime/counters.h"
#include "onnxruntime/ort.h"

namespace bitnet {

// An operator, for an API and counters.
struct Op {
  OrtCustomOp base;  // first, so that ONNX Runtime's pointer to it is a pointer to Op
  const OrtApi* api;
  const OpSpec* spec;
  Counters* counters;  // or null
  size_t index;        // in kOperators
};
void init_op(Op* op, const OrtApi* api, Counters* counters, size_t index);

// All operators, and how many they are.
extern const OpSpec* const kOperators[];
extern const size_t kOperatorCount;

// The place of an operator, or kOperatorCount.
size_t operator_index(const char* name);

// Adds all operators to the options of a session.
OrtStatus* add_operators(OrtSessionOptions* options, const OrtApiBase* base);
// For tests: how often the operators are in memory.
size_t registration_count();

}  // namespace bitnet
