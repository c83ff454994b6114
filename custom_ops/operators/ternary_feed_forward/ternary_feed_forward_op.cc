// TernaryFeedForward(X float32 [..., K], gate uint8 [N, 64 * ceil(K / 256)], up like gate,
//   gate_scale float32 [1], up_scale float32 [1], norm float32 [N], epsilon float32 [1],
//   down uint8 [N, 64 * ceil(M / 256)], by column, down_scale float32 [M])
//   -> Y float32 [..., M], normed float32 [..., N], optional: what down is multiplied with
#include "onnxruntime/products.h"
#include "operators/ternary.h"
#include "operators/ternary_feed_forward/ternary_feed_forward.h"

namespace bitnet {
namespace {

enum { kX, kGate, kUp, kGateScale, kUpScale, kNorm, kEpsilon, kDown, kDownScale };

// Inputs down, with as many rows as gate, and down_scale, with as many elements as down has
// columns.
OrtStatus* inputs_down(const Call& call, int64_t n, Tensor* down, Tensor* scale) {
  if (OrtStatus* s = input(call, kDown, down)) return s;
  if (OrtStatus* s = input(call, kDownScale, scale)) return s;
  if (scale->rank != 1) return wrong_shape(call, *scale, "[M]");
  const size_t columns = blocks_of(static_cast<size_t>(scale->dims[0])) * kBlockBytes;
  if (down->rank == 2 && down->dims[0] == n && static_cast<size_t>(down->dims[1]) == columns) {
    return nullptr;
  }
  return wrong_shape(call, *down,
                     "[N, 64 * ceil(M / 256)] with the rows of gate and M of its scale");
}

OrtStatus* compute(Call* call) {
  Rows rows;
  Tensor gate, up, gate_scale, up_scale, norm, epsilon, down, down_scale;
  float *y = nullptr, *normed = nullptr;
  if (OrtStatus* s = inputs_x_packed(*call, &rows, &gate)) return s;
  const int64_t n = gate.dims[0];
  if (n < 1 || n > static_cast<int64_t>(kMaxK)) {
    return fail(call->api, "%s: gate has %lld rows (N), expected 1 to %zu", call->spec->name,
                static_cast<long long>(n), kMaxK);
  }
  if (OrtStatus* s = input(*call, kUp, &up)) return s;
  if (!same_shape(up, gate)) return wrong_shape(*call, up, "that of gate");
  if (OrtStatus* s = input_vector(*call, kGateScale, 1, &gate_scale)) return s;
  if (OrtStatus* s = input_vector(*call, kUpScale, 1, &up_scale)) return s;
  if (OrtStatus* s = input_vector(*call, kNorm, n, &norm)) return s;
  if (OrtStatus* s = input_vector(*call, kEpsilon, 1, &epsilon)) return s;
  if (OrtStatus* s = inputs_down(*call, n, &down, &down_scale)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, down_scale.dims[0], &y)) return s;
  if (OrtStatus* s = optional_output_rows(*call, 1, rows.x, n, &normed)) return s;
  Counters* counters = call->counters;
  const TernaryFeedForward op = {
      .m = rows.m,
      .k = rows.k,
      .n = static_cast<size_t>(n),
      .width = static_cast<size_t>(down_scale.dims[0]),
      .x = floats(rows.x),
      .gate = bytes(gate),
      .up = bytes(up),
      .gate_scale = bytes(gate_scale),
      .up_scale = bytes(up_scale),
      .norm = bytes(norm),
      .epsilon = load_float(epsilon.data, 0),
      .down = bytes(down),
      .down_scale = bytes(down_scale),
      .y = y,
      .normed = normed,
      .skipped_rows = counters ? &counters->skipped_rows : nullptr,
      .skipped_columns = counters ? &counters->skipped_columns : nullptr};
  if (op.m == 0) return nullptr;
  if (static_cast<int64_t>(op.m) > kMaxElements / n) {
    return wrong_shape(*call, rows.x, "at most 2^47 products with rows of gate");
  }
  return run_with_scratch(call, ternary_feed_forward_scratch(op), op, ternary_feed_forward);
}

}  // namespace

constexpr InputSpec kInputs[] = {
    {"X", kFloat32},          {"gate", kUint8},       {"up", kUint8},
    {"gate_scale", kFloat32}, {"up_scale", kFloat32}, {"norm", kFloat32},
    {"epsilon", kFloat32},    {"down", kUint8},       {"down_scale", kFloat32}};
constexpr OutputSpec kOutputs[] = {{"Y"}, {.name = "normed", .optional = true}};

const OpSpec kTernaryFeedForward = {
    .name = "TernaryFeedForward", .inputs = kInputs, .outputs = kOutputs, .compute = compute};

}  // namespace bitnet
