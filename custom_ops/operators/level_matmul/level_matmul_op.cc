// Int4MatMul(X float32 [..., K], W uint8 [N, 128 * ceil(K / 256)], levels int8 [N, 8 * ceil(K /
//            256)], scale float32 [N]) -> Y float32 [..., N]
// Int6MatMul: the same with W [N, 192 * ceil(K / 256)]
#include "onnxruntime/level_inputs.h"
#include "operators/ternary.h"

namespace bitnet {
namespace {

// Input `index` of the shape [n, columns].
OrtStatus* input_matrix(const Call& call, size_t index, int64_t n, size_t columns,
                        const uint8_t** data) {
  Tensor t;
  if (OrtStatus* s = input(call, index, &t)) return s;
  if (t.rank == 2 && t.dims[0] == n && t.dims[1] == static_cast<int64_t>(columns)) {
    *data = bytes(t);
    return nullptr;
  }
  int64_t elements = 1;
  for (size_t i = 0; i < t.rank; i++) elements *= t.dims[i];
  return fail(call.api, "%s: %s has %zu dimensions and %lld elements, expected [%lld, %zu]",
              call.spec->name, t.name, t.rank, static_cast<long long>(elements),
              static_cast<long long>(n), columns);
}

template <int Bits>
OrtStatus* compute(Call* call) {
  Rows rows;
  Tensor w;
  LevelMatMul op = {};
  op.bits = Bits;
  if (OrtStatus* s = inputs_x_w(*call, &rows, &w)) return s;
  if (OrtStatus* s = level_inputs(*call, 1, rows, w.dims[0], &op)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, w.dims[0], &op.y)) return s;
  if (op.m == 0 || op.n == 0) return nullptr;
  return run_with_scratch(call, level_matmul_scratch(op.m, op.k), op, level_matmul);
}

}  // namespace

OrtStatus* level_inputs(const Call& call, size_t index, const Rows& rows, int64_t n,
                        LevelMatMul* op) {
  op->m = rows.m;
  op->k = rows.k;
  op->n = static_cast<size_t>(n);
  op->x = floats(rows.x);
  Tensor scale;
  if (OrtStatus* s = input_matrix(call, index, n, level_row_bytes(op->bits, rows.k), &op->w)) {
    return s;
  }
  if (OrtStatus* s = input_matrix(call, index + 1, n, blocks_of(rows.k) * kLevels, &op->levels)) {
    return s;
  }
  if (OrtStatus* s = input_vector(call, index + 2, n, &scale)) return s;
  op->scale = floats(scale);
  return nullptr;
}

constexpr InputSpec kInputs[] = {
    {"X", kFloat32}, {"W", kUint8}, {"levels", kInt8}, {"scale", kFloat32}};

const OpSpec kInt4MatMul = {.name = "Int4MatMul",
                            .inputs = kInputs,
                            .outputs = kY,
                            .compute = compute<4>,
                            .infer = infer_x_w};
const OpSpec kInt6MatMul = {.name = "Int6MatMul",
                            .inputs = kInputs,
                            .outputs = kY,
                            .compute = compute<6>,
                            .infer = infer_x_w};

}  // namespace bitnet
