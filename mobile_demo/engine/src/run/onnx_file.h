// What a graph's file shows of the options with which it was exported, as
// bitnet_onnx/runtime/graph.py reads it: ONNX Runtime names its inputs and outputs alone.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>

namespace edge {

struct Shown {
  bool native = false;          // whether it has custom operators
  std::string_view head;        // as the manifest names it; "" where the graph does not show it
  int64_t context_length = -1;  // -1 where it does not
};

// model: a serialized ModelProto. What is no such thing shows nothing.
Shown shown_by(std::string_view model);

}  // namespace edge
