// TernaryExperts(X float32 [..., H], router float32 [E, H],
//   gate_up uint8 [E, 2 I, 64 * ceil(H / 256)], gate_up_scale float32 [E, 2],
//   down uint8 [E, H, 64 * ceil(I / 256)], down_scale float32 [E], k) -> Y float32 [..., H]
// Bf16Experts(X, router, gate_up bfloat16 [E, 2 I, H], down bfloat16 [E, H, I], k) -> Y
// Int8Experts(X, router, gate_up int8 [E, 2 I, H], gate_up_scale float32 [E, 2 I],
//   down int8 [E, H, I], down_scale float32 [E, H], k) -> Y
// An attribute that a node may have, limit float: gate is at most that, up within -limit and limit;
//   0: none.
#include "onnxruntime/products.h"
#include "operators/experts/experts.h"
#include "operators/ternary.h"

namespace bitnet {
namespace {

bool has_shape(const Tensor& tensor, List<size_t> dims) {
  if (tensor.rank != dims.count) return false;
  for (size_t i = 0; i < dims.count; i++) {
    if (tensor.dims[i] != static_cast<int64_t>(dims[i])) return false;
  }
  return true;
}

// Inputs X and router, and the attribute.
OrtStatus* inputs_routing(const Call& call, Rows* rows, Experts* op) {
  Tensor router;
  if (OrtStatus* s = inputs_x_plain(call, rows, &router)) return s;
  const int64_t experts = router.dims[0];
  if (experts < 1 || experts > static_cast<int64_t>(kMaxExperts)) {
    return fail(call.api, "%s: router has %lld rows (E), expected 1 to %zu", call.spec->name,
                static_cast<long long>(experts), kMaxExperts);
  }
  if (call.attribute < 1 || call.attribute > experts) {
    return fail(call.api, "%s: k is %lld, expected 1 to E = %lld", call.spec->name,
                static_cast<long long>(call.attribute), static_cast<long long>(experts));
  }
  if (!(call.number >= 0)) {
    return fail(call.api, "%s: limit is %g, expected 0 or more", call.spec->name,
                static_cast<double>(call.number));
  }
  op->limit = call.number;
  op->m = rows->m;
  op->k = rows->k;
  op->experts = static_cast<size_t>(experts);
  op->chosen = static_cast<size_t>(call.attribute);
  op->x = floats(rows->x);
  op->router = bytes(router);
  return nullptr;
}

// Elements of a row of k weights.
size_t elements(const ExpertKind& kind, size_t k) {
  return &kind == &kTernaryExpert ? blocks_of(k) * kBlockBytes : k;
}

// The inputs that hold weights, from index 2 on: gate_up, down, and the scales after each.
OrtStatus* inputs_weights(const Call& call, Experts* op) {
  const ExpertKind& kind = *op->kind;
  const bool scaled = call.spec->inputs.count > 4;
  Tensor gate_up, down, gate_up_scale, down_scale;
  if (OrtStatus* s = input(call, 2, &gate_up)) return s;
  if (OrtStatus* s = input(call, scaled ? 4 : 3, &down)) return s;
  const int64_t rows = gate_up.rank == 3 ? gate_up.dims[1] : 0;
  if (rows < 2 || rows % 2 || rows > 2 * static_cast<int64_t>(kMaxK) ||
      !has_shape(gate_up, {{op->experts, static_cast<size_t>(rows), elements(kind, op->k)}})) {
    return wrong_shape(call, gate_up,
                       "[E, 2 * I, columns of H] with the E and H of router, I 1 to 131072");
  }
  op->inner = static_cast<size_t>(rows) / 2;
  if (!has_shape(down, {{op->experts, op->k, elements(kind, op->inner)}})) {
    return wrong_shape(call, down, "[E, H, columns of I] with the I of gate_up");
  }
  op->gate_up = bytes(gate_up);
  op->down = bytes(down);
  if (!scaled) return nullptr;
  if (OrtStatus* s = input(call, 3, &gate_up_scale)) return s;
  if (OrtStatus* s = input(call, 5, &down_scale)) return s;
  const size_t each = kind.row_scales ? 2 * op->inner : 2;
  if (!has_shape(gate_up_scale, {{op->experts, each}})) {
    return wrong_shape(call, gate_up_scale, kind.row_scales ? "[E, 2 * I]" : "[E, 2]");
  }
  if (kind.row_scales ? !has_shape(down_scale, {{op->experts, op->k}})
                      : !has_shape(down_scale, {{op->experts}})) {
    return wrong_shape(call, down_scale, kind.row_scales ? "[E, H]" : "[E]");
  }
  op->gate_up_scale = bytes(gate_up_scale);
  op->down_scale = bytes(down_scale);
  return nullptr;
}

template <const ExpertKind& kind>
OrtStatus* compute(Call* call) {
  Rows rows;
  Experts op = {};
  op.kind = &kind;
  if (OrtStatus* s = inputs_routing(*call, &rows, &op)) return s;
  if (OrtStatus* s = inputs_weights(*call, &op)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, static_cast<int64_t>(op.k), &op.y)) return s;
  if (op.m == 0) return nullptr;
  if (call->counters) op.skipped = &call->counters->skipped_experts;
  return run_with_scratch(call, experts_scratch(op), op, experts);
}

}  // namespace

constexpr InputSpec kTernaryInputs[] = {
    {"X"}, {"router"}, {"gate_up", kUint8}, {"gate_up_scale"}, {"down", kUint8}, {"down_scale"}};
constexpr InputSpec kBf16Inputs[] = {
    {"X"}, {"router"}, {"gate_up", kBfloat16}, {"down", kBfloat16}};
constexpr InputSpec kInt8Inputs[] = {
    {"X"}, {"router"}, {"gate_up", kInt8}, {"gate_up_scale"}, {"down", kInt8}, {"down_scale"}};

const OpSpec kTernaryExperts = {.name = "TernaryExperts",
                                .inputs = kTernaryInputs,
                                .outputs = kY,
                                .compute = compute<kTernaryExpert>,
                                .attribute = "k",
                                .number = "limit"};
const OpSpec kBf16Experts = {.name = "Bf16Experts",
                             .inputs = kBf16Inputs,
                             .outputs = kY,
                             .compute = compute<kBf16Expert>,
                             .attribute = "k",
                             .number = "limit"};
const OpSpec kInt8Experts = {.name = "Int8Experts",
                             .inputs = kInt8Inputs,
                             .outputs = kY,
                             .compute = compute<kInt8Expert>,
                             .attribute = "k",
                             .number = "limit"};

}  // namespace bitnet
