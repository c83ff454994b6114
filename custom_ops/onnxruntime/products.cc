#include "onnxruntime/products.h"

#include <string.h>

#include "operators/ternary.h"

namespace bitnet {

OrtStatus* inputs_x_w(const Call& call, Rows* rows, Tensor* w) {
  const char* name = call.spec->name;
  Tensor* x = &rows->x;
  if (OrtStatus* s = input(call, 0, x)) return s;
  if (OrtStatus* s = input(call, 1, w)) return s;
  if (x->rank < 1) {
    return fail(call.api, "%s: X is a scalar, expected dimensions [..., K]", name);
  }
  const int64_t last = x->dims[x->rank - 1];
  if (last < 1 || last > static_cast<int64_t>(kMaxK)) {
    return fail(call.api, "%s: X has %lld columns (K), expected 1 to %zu", name,
                static_cast<long long>(last), kMaxK);
  }
  if (w->rank != 2) {
    return fail(call.api, "%s: %s has %zu dimensions, expected 2", name, w->name, w->rank);
  }
  rows->k = static_cast<size_t>(last);
  rows->m = rows_of(*x);
  return nullptr;
}

OrtStatus* inputs_x_plain(const Call& call, Rows* rows, Tensor* w) {
  if (OrtStatus* s = inputs_x_w(call, rows, w)) return s;
  if (w->dims[1] == static_cast<int64_t>(rows->k)) return nullptr;
  return fail(call.api, "%s: %s has %lld columns, expected K = %zu", call.spec->name, w->name,
              static_cast<long long>(w->dims[1]), rows->k);
}

OrtStatus* inputs_x_packed(const Call& call, Rows* rows, Tensor* w) {
  if (OrtStatus* s = inputs_x_w(call, rows, w)) return s;
  const size_t row_bytes = blocks_of(rows->k) * kBlockBytes;
  if (w->dims[1] == static_cast<int64_t>(row_bytes)) return nullptr;
  return fail(call.api, "%s: %s has %lld columns, expected %zu (64 * ceil(K / 256), K = %zu)",
              call.spec->name, w->name, static_cast<long long>(w->dims[1]), row_bytes, rows->k);
}

using Output = OrtStatus* (*)(const Call&, size_t, const int64_t*, size_t, void**);

static OrtStatus* made(Output make, const Call& call, size_t index, const Tensor& x, int64_t n,
                       float** y) {
  int64_t dims[kMaxRank];
  memcpy(dims, x.dims, sizeof dims);
  dims[x.rank - 1] = n;
  void* data = nullptr;
  OrtStatus* status = make(call, index, dims, x.rank, &data);
  *y = static_cast<float*>(data);
  return status;
}

OrtStatus* output_rows(const Call& call, size_t index, const Tensor& x, int64_t n, float** y) {
  return made(output, call, index, x, n, y);
}

OrtStatus* optional_output_rows(const Call& call, size_t index, const Tensor& x, int64_t n,
                                float** y) {
  return made(optional_output, call, index, x, n, y);
}

// The shape [..., N] of the output is set only where each dimension has a value or a symbol: ONNX
// Runtime would store an unknown one as -1.
static OrtStatus* infer(const OrtApi* api, OrtShapeInferContext* context,
                        const OrtTensorTypeAndShapeInfo* x, const OrtTensorTypeAndShapeInfo* w) {
  int64_t dims[kMaxRank], w_dims[2];
  const char* symbols[kMaxRank];
  const char* w_symbols[2];
  size_t rank = 0, w_rank = 0;
  if (OrtStatus* s = api->GetDimensionsCount(x, &rank)) return s;
  if (OrtStatus* s = api->GetDimensionsCount(w, &w_rank)) return s;
  if (rank < 1 || rank > kMaxRank || w_rank != 2) return nullptr;  // checked when it runs
  if (OrtStatus* s = api->GetDimensions(x, dims, rank)) return s;
  if (OrtStatus* s = api->GetDimensions(w, w_dims, 2)) return s;
  if (OrtStatus* s = api->GetSymbolicDimensions(x, symbols, rank)) return s;
  if (OrtStatus* s = api->GetSymbolicDimensions(w, w_symbols, 2)) return s;
  dims[rank - 1] = w_dims[0];
  symbols[rank - 1] = w_symbols[0];
  for (size_t i = 0; i < rank; i++) {
    if (dims[i] < 0 && (!symbols[i] || !symbols[i][0])) return nullptr;
  }
  OrtTensorTypeAndShapeInfo* y = nullptr;
  if (OrtStatus* s = api->CreateTensorTypeAndShapeInfo(&y)) return s;
  OrtStatus* status = api->SetTensorElementType(y, kFloat32);
  if (!status) status = api->SetDimensions(y, dims, rank);
  if (!status) status = api->SetSymbolicDimensions(y, symbols, rank);
  if (!status) status = api->ShapeInferContext_SetOutputTypeShape(context, 0, y);
  api->ReleaseTensorTypeAndShapeInfo(y);
  return status;
}

OrtStatus* infer_x_w(const OrtApi* api, OrtShapeInferContext* context) {
  OrtTensorTypeAndShapeInfo *x = nullptr, *w = nullptr;  // owned by the context
  if (OrtStatus* s = api->ShapeInferContext_GetInputTypeShape(context, 0, &x)) return s;
  if (OrtStatus* s = api->ShapeInferContext_GetInputTypeShape(context, 1, &w)) return s;
  return x && w ? infer(api, context, x, w) : nullptr;
}

}  // namespace bitnet
