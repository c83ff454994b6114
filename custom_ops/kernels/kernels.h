// The kernels are pure functions on pointers. They never allocate, start threads, log, throw or
// read the environment. Results are exact, so every instruction set gives the same bits. Weights
// may lie at any address; scratch is aligned.
//
// Each operation has a folder with its formula (<operation>.h) and its list (kernels.inc), best
// first. A CPU gets the first row of each list that it can run.
#pragma once

#include "kernels/attend_scores/attend_scores.h"
#include "kernels/attend_scores_int8/attend_scores_int8.h"
#include "kernels/attend_softmax/attend_softmax.h"
#include "kernels/attend_unpack_int4/attend_unpack_int4.h"
#include "kernels/attend_values/attend_values.h"
#include "kernels/attend_values_int8/attend_values_int8.h"
#include "kernels/attend_weights_int8/attend_weights_int8.h"
#include "kernels/bf16_gemv/bf16_gemv.h"
#include "kernels/int8_gemv/int8_gemv.h"
#include "kernels/level_gemv/level_gemv.h"
#include "kernels/read/read.h"
#include "kernels/rows/rows.h"
#include "kernels/select/select.h"
#include "kernels/ternary_columns/ternary_columns.h"
#include "kernels/ternary_few/ternary_few.h"
#include "kernels/ternary_gemm/ternary_gemm.h"
#include "kernels/ternary_gemv/ternary_gemv.h"
#include "kernels/ternary_group/ternary_group.h"
#include "kernels/ternary_open/ternary_open.h"

namespace bitnet {

// The kernels of one kind of CPU.
struct Kernels {
  const char* name;  // of the CPU, as in kCpus
  TernaryGemv* ternary_gemv;
  TernarySelect* ternary_select;
  size_t few_rows;  // activation rows up to which ternary_few is faster than ternary_gemm
  TernaryFew* ternary_few;
  TernaryColumnsFew* ternary_columns_few;
  size_t open_rows;  // activation rows, from 2 on, up to which ternary_open is faster than all sums
  TernaryOpen* ternary_open;
  size_t gemm_rows;  // weight rows that are worth a call of ternary_gemm
  TernaryGemm* ternary_gemm;
  TernaryColumnsGemm* ternary_columns_gemm;
  TernaryColumns* ternary_columns;
  TernaryGroup* ternary_group;
  Bf16Gemv* bf16_gemv;
  Int8Gemv* int8_gemv;
  LevelGemv* level_gemv_int4;
  LevelGemv* level_gemv_int6;
  AttendScores<float>* attend_scores;
  AttendScores<uint16_t>* attend_scores_f16;
  AttendSoftmax* attend_softmax;
  AttendValues<float>* attend_values;
  AttendValues<uint16_t>* attend_values_f16;
  AttendScoresInt8* attend_scores_int8;
  AttendWeightsInt8* attend_weights_int8;
  AttendValuesInt8* attend_values_int8;
  AttendUnpackInt4* attend_unpack_int4;
  QuantizeInt8* quantize_int8;
  QuantizeInt16* quantize_int16;
  QuantizeDigits* quantize_digits;
  WidenBf16* widen_bf16;
  RmsNormRow* rms_norm;
  Rotate* rotate;
  ScaleSums* scale_sums;
  ScaleSumsEach* scale_sums_each;
  GateRow* gate;
  SiluRow* silu;
  GeluRow* gelu;
  AddScaled* add_scaled;
  DotRow* dot;
  AddSums* add_sums;
  AddReals* add_reals;
  DivideReals* divide_reals;
  SelectValues* select_values;
  SelectOpen* select_open;
  Read* read;
};

// The kernels of each kind of CPU whose features this one has, best first; the last is scalar.
size_t offered_kernels(const Kernels*** list);
// Their names, separated by commas.
const char* offered_names();

// The kernels of the kind of CPU with this name; the best where it is null or empty; null where
// this CPU lacks its features.
const Kernels* find_kernels(const char* name);

// The value of BITNET_ONNX_KERNEL, or null.
const char* forced_name();

}  // namespace bitnet
