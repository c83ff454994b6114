// ONNX Runtime, loaded at run time: a graph with named ports, and calls of it with bound buffers.
//
// Only onnxruntime.cc includes its C API. Nothing links the library, since each release versions
// its symbols anew and a program that is linked to one refuses the next.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "run/types.h"

namespace edge {

// An input or output of a graph; an open dimension is -1.
struct Port {
  std::string name;
  Type type = Type::kOther;
  std::vector<int64_t> dims;
};

struct RuntimeOptions {
  std::string library;    // the path of ONNX Runtime; empty: where a system has it
  std::string operators;  // the path of the custom operators; empty: linked in, or beside
  int threads = 0;        // 0: ONNX Runtime's own choice
  bool custom_operators = false;
};

class Runtime {
 public:
  static Status open(const std::string& graph, const RuntimeOptions& options,
                     std::unique_ptr<Runtime>* runtime);
  ~Runtime();

  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  // Initializers that an input of the same name may replace.
  const std::vector<Port>& optional_inputs() const { return optional_inputs_; }
  // The kernels of the custom operators, "" without them.
  const std::string& kernel() const { return kernel_; }

 private:
  friend class Binding;
  struct Handles;
  Runtime();
  Status load(const std::string& graph, const RuntimeOptions& options);
  Status register_operators(const RuntimeOptions& options);
  Status read_ports();

  std::unique_ptr<Handles> handles_;
  std::vector<Port> inputs_, outputs_, optional_inputs_;
  std::string kernel_;
};

// The buffers of a call. They are the caller's, and must live as long as they are bound.
class Binding {
 public:
  static Status make(Runtime* runtime, std::unique_ptr<Binding>* binding);
  ~Binding();
  Status input(const char* name, Type type, const std::vector<int64_t>& dims, void* data);
  Status output(const char* name, Type type, const std::vector<int64_t>& dims, void* data);
  Status run();

 private:
  explicit Binding(Runtime* runtime) : runtime_(runtime) {}
  Status bind(bool input, const char* name, Type type, const std::vector<int64_t>& dims,
              void* data);
  Runtime* runtime_;
  void* binding_ = nullptr;
};

}  // namespace edge
