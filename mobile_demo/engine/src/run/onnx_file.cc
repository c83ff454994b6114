#include "run/onnx_file.h"

namespace edge {
namespace {

// Numbers of fields: of ModelProto, GraphProto, NodeProto, TensorProto.
constexpr uint64_t kGraph = 7, kNode = 1, kInitializer = 5, kInput = 1, kOpType = 4, kOpDomain = 7,
                   kDims = 1, kDataType = 2, kName = 8;

struct Head {
  const char* operator_name;
  const char* name;
};
constexpr Head kHeads[] = {{"Bf16MatMul", "bf16"},
                           {"Int8MatMul", "int8"},
                           {"Int6MatMul", "int6"},
                           {"Int4MatMul", "int4"},
                           {"TwoStepMatMul", "two-step"},
                           {"TwoStepInt6MatMul", "two-step-int6"},
                           {"TwoStepInt4MatMul", "two-step-int4"}};

// ONNX's types of a stock head's table.
const char* head_of(uint64_t type) {
  return type == 1 ? "float32" : type == 2 || type == 3 ? "int8" : type == 16 ? "bf16" : "";
}

// The fields of a message, one after another: numbers of a fixed width are passed over.
struct Fields {
  explicit Fields(std::string_view message) : left(message) {}

  std::string_view left;
  uint64_t field = 0, value = 0;
  std::string_view content;  // of a field with a length

  bool next() {
    while (!left.empty()) {
      const uint64_t key = varint();
      field = key >> 3;
      content = {};
      const uint64_t wire = key & 7;
      if (wire == 1 || wire == 5) {
        left.remove_prefix(left.size() < 8 ? left.size() : wire == 1 ? 8 : 4);
        continue;
      }
      value = varint();
      if (wire != 2) return wire == 0;
      content = left.substr(0, value);
      left.remove_prefix(content.size());
      return content.size() == value;
    }
    return false;
  }

  uint64_t varint() {
    uint64_t number = 0;
    for (int shift = 0; shift < 64 && !left.empty(); shift += 7) {
      const uint64_t byte = static_cast<unsigned char>(left.front());
      left.remove_prefix(1);
      number |= (byte & 127) << shift;
      if (byte < 128) return number;
    }
    left = {};
    return number;
  }
};

void read_node(std::string_view node, Shown* shown) {
  constexpr std::string_view linear = "model.layers.";  // how the name of its weight begins
  std::string_view type, domain;
  bool of_linear = false;
  for (Fields fields(node); fields.next();) {
    if (fields.field == kInput && fields.content.substr(0, linear.size()) == linear) {
      of_linear = true;
    }
    if (fields.field == kOpType) type = fields.content;
    if (fields.field == kOpDomain) domain = fields.content;
  }
  if (domain != "bitnet") return;
  shown->native = true;
  for (const Head& head : kHeads) {
    if (type == head.operator_name && !of_linear) shown->head = head.name;
  }
}

struct Tensor {
  std::string_view name;
  uint64_t type = 0;
  int64_t rows = -1;
};

Tensor read_tensor(std::string_view tensor) {
  Tensor found;
  for (Fields fields(tensor); fields.next();) {
    if (fields.field == kDims && found.rows < 0) {
      Fields packed(fields.content);  // dims may also be numbers of one field
      found.rows = static_cast<int64_t>(fields.content.empty() ? fields.value : packed.varint());
    }
    if (fields.field == kDataType) found.type = fields.value;
    if (fields.field == kName) found.name = fields.content;
  }
  return found;
}

}  // namespace

Shown shown_by(std::string_view model) {
  Shown shown;
  uint64_t head = 0, embedding = 0;
  for (Fields top(model); top.next();) {
    if (top.field != kGraph) continue;
    for (Fields graph(top.content); graph.next();) {
      if (graph.field == kNode) read_node(graph.content, &shown);
      if (graph.field != kInitializer) continue;
      const Tensor tensor = read_tensor(graph.content);
      if (tensor.name == "lm_head.weight") head = tensor.type;
      if (tensor.name == "model.embed_tokens.weight") embedding = tensor.type;
      if (tensor.name == "cos_cache") shown.context_length = tensor.rows;
    }
  }
  if (shown.head.empty()) shown.head = head_of(head ? head : embedding);
  return shown;
}

}  // namespace edge
