// A fuzz of the boundary of every operator: shapes, types and values that nobody should pass. The
// operator computes, with the same bits by every kernel, or returns a sentence, and it touches no
// tensor before its sizes are checked.
//     fuzz [rounds] [seed]
#include "onnxruntime/fuzz.h"

#include <signal.h>
#include <sys/mman.h>

#include "onnxruntime/ort.h"
#include "testing/fake_ort.h"

// An allocation that is too large gives null, as without a sanitizer.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

namespace {

constexpr size_t kBacked = size_t{4} << 20;  // larger tensors are only claimed

// The inputs of one call. `odd`: they may be refused.
struct Round {
  const Operator& op;
  const OrtCustomOp* custom;
  std::vector<OrtValue> inputs;
  std::vector<bool> claimed;
  bool odd = false;
};

// Sizes that several tensors share.
void spoil_sizes(Sizes* s, Random* random) {
  *s->all[random->below(12)] = static_cast<uint64_t>(odd_size(random));
  if (random->below(3) == 0) {  // whose product wraps to 0
    s->kv_heads = uint64_t{1} << (30 + random->below(34));
    s->half = uint64_t{1} << (30 + random->below(34));
  }
}

void spoil_input(Round* round, Random* random) {
  OrtValue& value = round->inputs[random->below(round->inputs.size())];
  switch (random->below(6)) {
    case 0:
    case 1:
    case 2:
      if (!value.dims.empty()) value.dims[random->below(value.dims.size())] = odd_size(random);
      break;
    case 3:
      if (!value.dims.empty() && random->below(2)) {
        value.dims.pop_back();
      } else {
        for (size_t i = random->below(8) + 1; i > 0; i--) value.dims.push_back(1);
      }
      break;
    case 4:
      value.type = static_cast<ONNXTensorElementDataType>(random->below(17));
      break;
    default:
      value.missing = true;
  }
}

void fill(OrtValue* value, bool any_bits, Random* random) {
  if (any_bits || value->type != kFloat32) return;
  float* data = static_cast<float*>(value->data);
  for (size_t i = 0; i < value->bytes / 4; i++) data[i] = random->real();
}

// The int32 elements of the input of this shape, if it is backed.
struct Indices {
  int32_t* data = nullptr;
  size_t count = 0;
};
Indices indices(Round* round, Shape shape) {
  for (size_t i = 0; i < round->inputs.size() && i < round->op.inputs.size(); i++) {
    if (round->op.inputs[i] != shape || round->claimed[i]) continue;
    return {static_cast<int32_t*>(round->inputs[i].data), round->inputs[i].bytes / 4};
  }
  return {};
}

// Sets the numbers of positions, mostly to valid ones.
void fill_indices(Round* round, const Sizes& s, Random* random) {
  const Indices total = indices(round, scalar), last = indices(round, of_batch);
  const uint64_t positions = s.past + s.count;
  for (size_t i = 0; i < total.count; i++) total.data[i] = static_cast<int32_t>(positions);
  for (size_t i = 0; i < last.count; i++) {
    last.data[i] = static_cast<int32_t>(positions - 1 - random->below(s.past ? s.past : 1));
  }
  if (random->below(4)) return;
  round->odd = true;
  const Indices& one = random->below(2) ? total : last;
  if (one.count) one.data[random->below(one.count)] = odd_index(random);
}

// A page that nothing may touch.
void* forbidden() {
  static void* page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page;
}

// seqlens_k is read before the outputs are made. Where it is not backed, its first number is wrong.
void* bad_index() {
  static const int32_t bad[16] = {-1};
  return const_cast<int32_t*>(bad);
}

// Gives the inputs memory. Returns whether all of them are backed.
bool back(Round* round, Random* random) {
  bool all = true;
  const bool any_bits = random->below(2);
  for (OrtValue& value : round->inputs) {
    const bool there = allocate(&value, kBacked, random);
    round->claimed.push_back(!there);
    if (there) {
      fill(&value, any_bits, random);
    } else {
      all = false;
      value.data = value.type == kInt32 ? bad_index() : forbidden();
    }
  }
  return all;
}

// CPUs differ in the sign and payload of a NaN that an operation makes.
template <typename T>
bool same_items(const OrtValue& a, const OrtValue& b, bool (*same)(T, T)) {
  const T *x = static_cast<const T*>(a.data), *y = static_cast<const T*>(b.data);
  for (size_t i = 0; i < a.bytes / sizeof(T); i++) {
    if (!same(x[i], y[i])) return false;
  }
  return true;
}

bool same_halves(uint16_t a, uint16_t b) {
  const auto is_nan = [](uint16_t half) { return (half & 0x7fff) > 0x7c00; };
  return a == b || (is_nan(a) && is_nan(b));
}

bool same(const OrtValue& a, const OrtValue& b) {
  if (a.dims != b.dims || a.bytes != b.bytes) return false;
  if (a.type == kFloat32) return same_items<float>(a, b, same_bits);
  if (a.type == kFloat16) return same_items<uint16_t>(a, b, same_halves);
  return memcmp(a.data, b.data, a.bytes) == 0;
}

void check_status(const Round& round, const OrtStatus* status) {
  const std::string name = std::string(round.op.name) + ": ";
  const bool own = status->message.compare(0, name.size(), name) == 0;
  const bool fakes = status->message == "std::bad_alloc" || status->message == "no threads" ||
                     status->message == "there is no such input";
  CHECK(own || fakes);
  CHECK(status->code == ORT_INVALID_ARGUMENT || status->code == ORT_RUNTIME_EXCEPTION ||
        status->code == ORT_FAIL);
  CHECK(status->message.find('\n') == std::string::npos);
  CHECK(!own || status->message.find("expected") != std::string::npos ||
        status->message.find("out of memory") != std::string::npos);
}

// Says which round it was. The instruction then fails again, as it would have.
struct sigaction before[NSIG];
void on_crash(int signal_number) {
  fprintf(stderr, "signal %d in %s\n", signal_number, current_case);
  sigaction(signal_number, &before[signal_number], nullptr);
}

void infer(const Round& round, Random* random) {
  if (!round.custom->InferOutputShapeFn || round.inputs.size() < 2) return;
  OrtShapeInferContext context;
  for (const OrtValue& value : round.inputs) {
    context.inputs.push_back({value.type, value.dims, {}});
    for (size_t i = 0; i < value.dims.size(); i++) {
      context.inputs.back().symbols.push_back(random->below(2) ? "s" : "");
    }
  }
  CHECK(round.custom->InferOutputShapeFn(round.custom, &context) == nullptr);
}

struct Nodes {
  const fake::Session& session;
  std::vector<fake::Node*> of[kOperatorCount];  // one for each kernel
};

// The attributes of a node, and half of the inputs of a round, as if they were the same in all
// calls.
OrtKernelInfo with_constants(const Round& round, Random* random) {
  OrtKernelInfo info = {{{"k", round.op.k}}};
  for (size_t i = 0; i < round.inputs.size(); i++) {
    const OrtValue& value = round.inputs[i];
    if (random->below(2) && !value.missing) info.constants[i] = &value;
  }
  return info;
}

// Returns whether it computed.
bool run(const Nodes& nodes, size_t index, Random* random) {
  Sizes sizes;
  Round round = {kOperators[index], nodes.of[index][0]->op, {}, {}};
  choose(&sizes, random);
  if (sizes.k % 128 && strstr(round.op.name, "Group") == round.op.name + 7) round.odd = true;
  if (strcmp(round.op.name, "TernaryFloatMatMul") == 0 && sizes.k % 128) round.odd = true;
  if (sizes.batch < static_cast<uint64_t>(round.op.k)) round.odd = true;
  const size_t spoils = random->below(4);
  round.odd = round.odd || spoils > 0;
  const bool shared = random->below(2);
  if (spoils && shared) spoil_sizes(&sizes, random);
  for (size_t i = 0; i < round.op.inputs.size(); i++) {
    OrtValue value;
    value.type = round.custom->GetInputType(round.custom, i);
    for (uint64_t dim : round.op.inputs[i](sizes)) value.dims.push_back(static_cast<int64_t>(dim));
    round.inputs.push_back(value);
  }
  for (size_t i = shared ? 1 : 0; i < spoils; i++) spoil_input(&round, random);
  if (random->below(50) == 0) {
    round.odd = true;
    round.inputs.pop_back();
  }
  infer(round, random);
  const bool backed = back(&round, random);
  fill_indices(&round, sizes, random);
  const bool refuse_tasks = random->below(20) == 0, threads = random->below(16) == 0;
  const size_t outputs = 1 + random->below(8) % round.custom->GetOutputTypeCount(round.custom);
  fake::Node constant(nodes.session, round.op.name, with_constants(round, random));
  std::vector<fake::Node*> all = nodes.of[index];
  all.push_back(&constant);
  OrtKernelContext first;
  bool computed = false;
  for (size_t kernel = 0; kernel < all.size(); kernel++) {
    OrtKernelContext context;
    context.inputs = round.inputs;
    context.refuse_outputs = !backed;
    context.refuse_tasks = refuse_tasks;
    context.threads = threads;
    context.output_count = outputs;
    for (size_t i = 0; i < round.custom->GetOutputTypeCount(round.custom); i++) {
      context.outputs.push_back({});
      context.outputs[i].type = round.custom->GetOutputType(round.custom, i);
    }
    OrtStatus* status = all[kernel]->compute(&context);
    if (status) check_status(round, status);
    CHECK(!status || round.odd || refuse_tasks);
    CHECK(status || backed);
    computed = !status;
    fake::release_status(status);
    context.inputs.clear();  // they belong to the round
    if (kernel == 0) {
      first.outputs.swap(context.outputs);
    } else if (computed) {
      for (size_t i = 0; i < first.outputs.size(); i++) {
        CHECK(!first.outputs[i].data || same(first.outputs[i], context.outputs[i]));
      }
    }
  }
  for (size_t i = 0; i < round.inputs.size(); i++) {
    if (!round.claimed[i]) release(&round.inputs[i]);
  }
  return computed;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t rounds = argc > 1 ? strtoul(argv[1], nullptr, 10) : 20000;
  const size_t seed = argc > 2 ? strtoul(argv[2], nullptr, 10) : 1;
  struct sigaction action = {};
  action.sa_handler = on_crash;
  for (int crash : {SIGSEGV, SIGFPE, SIGBUS}) sigaction(crash, &action, &before[crash]);
  const Kernels** kernels;
  const size_t count = tested_kernels(&kernels);
  const fake::Session session;
  Nodes nodes = {session, {}};
  for (size_t i = 0; i < kOperatorCount; i++) {
    for (size_t kernel = 0; kernel < count; kernel++) {
      setenv("BITNET_ONNX_KERNEL", kernels[kernel]->name, 1);
      nodes.of[i].push_back(
          new fake::Node(session, kOperators[i].name, {{{"k", kOperators[i].k}}}));
    }
  }
  size_t computed = 0;
  for (size_t round = 0; round < rounds; round++) {
    Random random = {seed * 1000003 + round};
    const size_t index = random.below(kOperatorCount);
    CASE("%s, seed %zu round %zu", kOperators[index].name, seed, round);
    computed += run(nodes, index, &random);
    CHECK(fake::live_statuses() == 0);
  }
  for (auto& each : nodes.of) {
    for (fake::Node* node : each) delete node;
  }
  printf("%zu rounds of seed %zu: %zu computed, %zu refused, %d failures\n", rounds, seed, computed,
         rounds - computed, failures);
  return failures != 0 || computed * 10 < rounds;
}
