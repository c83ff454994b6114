// The registration of the operators, and the counters of sessions.
#include "onnxruntime/registration.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "include/bitnet_onnx_ops.h"
#include "testing/fake_ort.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

OrtValue floats_of(const std::vector<float>& from) {
  OrtValue value;
  value.dims = {static_cast<int64_t>(from.size())};
  value.bytes = from.size() * sizeof(float);
  value.data = malloc(value.bytes);
  memcpy(value.data, from.data(), value.bytes);
  return value;
}

// Runs an RMSNorm of two ones, which gives two ones.
void compute_once(fake::Node* node) {
  OrtKernelContext context;
  context.inputs = {floats_of({1, 1}), floats_of({1, 1}), floats_of({0})};
  OrtStatus* status = node->compute(&context);
  CHECK(status == nullptr);
  const float* y = static_cast<const float*>(context.outputs[0].data);
  CHECK(y[0] == 1 && y[1] == 1);
  fake::release_status(status);
}

// The same, where the node's weight and epsilon are `constants`, and no call has them.
OrtStatus* compute_constant(const fake::Session& session, const OrtValue& weight,
                            const OrtValue& epsilon, std::vector<float>* y) {
  OrtKernelInfo info;
  info.constants = {{1, &weight}, {2, &epsilon}};
  fake::Node node(session, "RMSNorm", info);
  OrtKernelContext context;
  context.inputs = {floats_of({1, 1}), OrtValue(), OrtValue()};
  context.inputs[1].missing = context.inputs[2].missing = true;
  OrtStatus* status = node.compute(&context);
  if (!status) {
    const float* from = static_cast<const float*>(context.outputs[0].data);
    y->assign(from, from + 2);
  }
  return status;
}

uint64_t counted(uint64_t id) { return bitnet_onnx_counters_nanoseconds(id, "RMSNorm"); }

bool says(const OrtStatus* status, const char* text) {
  return status && status->message.find(text) != std::string::npos;
}

size_t allocated() {
#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
  return mallinfo2().uordblks;
#endif
#endif
  return 0;
}

void open_session(uint64_t counters) {
  const fake::Session session(counters);
  CHECK(session.status == nullptr);
  fake::Node node(session, "RMSNorm");
  compute_once(&node);
}

}  // namespace

TEST(onnxruntime, every_operator_is_there) {
  const fake::Session session;
  CHECK(session.status == nullptr && session.options.domains.size() == 1);
  CHECK(session.options.domains[0]->ops.size() == kOperatorCount);
  for (size_t i = 0; i < kOperatorCount; i++) {
    const OrtCustomOp* op = session.op(kOperators[i]->name);
    CASE("%s", kOperators[i]->name);
    CHECK(op && op->GetInputTypeCount(op) == kOperators[i]->inputs.count);
    CHECK(op->GetOutputTypeCount(op) == kOperators[i]->outputs.count);
    CHECK(op->GetInputType(op, 0) == kFloat32 && op->GetOutputType(op, 0) == kFloat32);
  }
}

// The shape of the output is set where each dimension has a value or a symbol.
TEST(onnxruntime, shapes_are_inferred) {
  const fake::Session session;
  const OrtCustomOp* op = session.op("TernaryMatMul");
  const auto infer = [&](std::vector<int64_t> x, std::vector<std::string> symbols,
                         std::vector<int64_t> w) {
    OrtShapeInferContext context;
    const std::vector<std::string> none(w.size());
    context.inputs = {{kFloat32, x, symbols}, {kUint8, w, none}, {kFloat32, {1}, {""}}};
    CHECK(op->InferOutputShapeFn(op, &context) == nullptr);
    return context;
  };
  const OrtShapeInferContext known = infer({-1, 3, 70}, {"batch", "", ""}, {40, 64});
  CHECK(known.inferred && known.output.dims == (std::vector<int64_t>{-1, 3, 40}));
  CHECK(known.output.symbols == (std::vector<std::string>{"batch", "", ""}));
  CHECK(!infer({-1, 3, 70}, {"", "", ""}, {40, 64}).inferred);
  CHECK(!infer({3, 70}, {"", ""}, {40}).inferred);
  CHECK(!infer({}, {}, {40, 64}).inferred);
  CHECK(!infer(std::vector<int64_t>(9, 1), std::vector<std::string>(9), {40, 64}).inferred);
}

TEST(onnxruntime, an_old_runtime_is_told_so) {
  const fake::Session session(0, fake::kOldBase);
  CHECK(says(session.status, "needs ONNX Runtime 1.17 or later, this is 1.16.0"));
}

TEST(onnxruntime, sessions_share_a_registration_and_leave_nothing_behind) {
  open_session(0);
  const uint64_t id = bitnet_onnx_counters_new();
  open_session(id);
  bitnet_onnx_counters_free(id);
  const size_t registrations = registration_count(), before = allocated();
  for (int i = 0; i < 1000; i++) {
    open_session(0);
    const uint64_t counters = bitnet_onnx_counters_new();
    open_session(counters);
    bitnet_onnx_counters_free(counters);
  }
  CHECK(registration_count() == registrations);
  CHECK(allocated() == before);
  CHECK(fake::live_statuses() == 0);
  const fake::Session other(0, fake::kOtherBase);
  CHECK(other.status == nullptr && registration_count() == registrations + 1);
}

TEST(onnxruntime, a_session_counts_into_its_own) {
  const uint64_t a = bitnet_onnx_counters_new(), b = bitnet_onnx_counters_new();
  CHECK(a != 0 && b != 0 && a != b);
  const fake::Session counting(a), other(b), silent;
  fake::Node mine(counting, "RMSNorm"), theirs(other, "RMSNorm"), nobodys(silent, "RMSNorm");
  compute_once(&nobodys);
  CHECK(counted(a) == 0 && counted(b) == 0);
  for (int i = 0; i < 1000 && counted(a) == 0; i++) compute_once(&mine);
  CHECK(counted(a) > 0 && counted(b) == 0);
  CHECK(bitnet_onnx_counters_nanoseconds(a, "AddRMSNorm") == 0);
  CHECK(bitnet_onnx_counters_nanoseconds(a, "MatMul") == 0);
  bitnet_onnx_counters_free(a);
  bitnet_onnx_counters_free(b);
}

TEST(onnxruntime, counters_may_be_freed_under_a_session) {
  const uint64_t id = bitnet_onnx_counters_new();
  {
    const fake::Session session(id);
    fake::Node node(session, "RMSNorm");
    bitnet_onnx_counters_free(id);
    bitnet_onnx_counters_free(id);
    // The node still counts into these, so they are not given out again.
    const uint64_t next = bitnet_onnx_counters_new();
    compute_once(&node);
    CHECK(counted(id) == 0 && counted(next) == 0);
    bitnet_onnx_counters_free(next);
    const fake::Session late(id);
    CHECK(says(late.status, "expected the id of counters"));
  }
  CHECK(counted(id) == 0 && counted(0) == 0);
}

TEST(onnxruntime, an_entry_that_is_no_id_is_refused) {
  const uint64_t id = bitnet_onnx_counters_new();
  const std::string good = std::to_string(id);
  for (const std::string& text :
       {std::string(), std::string("0"), "-" + good, good + " ", good + "x", std::string("1e3"),
        std::string("18446744073709551617"), std::string(63, '9'), std::string(500, '9')}) {
    CASE("\"%s\"", text.c_str());
    OrtSessionOptions options;
    options.entries[BITNET_ONNX_COUNTERS_KEY] = text;
    OrtStatus* status = RegisterCustomOps(&options, &fake::kBase);
    CHECK(status && status->code == ORT_INVALID_ARGUMENT && options.domains.empty());
    fake::release_status(status);
  }
  bitnet_onnx_counters_free(id);
}

TEST(onnxruntime, a_forced_kernel_that_does_not_exist_is_refused) {
  const char* forced = forced_name();
  const std::string before = forced ? forced : "";
  host::set_variable("BITNET_ONNX_KERNEL", "sse9");
  const fake::Session session;
  CHECK(says(session.status, "\"sse9\", but this CPU can run only: "));
  CHECK(bitnet_onnx_active_kernel() == nullptr);
  if (forced)
    host::set_variable("BITNET_ONNX_KERNEL", before.c_str());
  else
    host::unset_variable("BITNET_ONNX_KERNEL");
}

// Sessions open, count and end in several threads.
TEST(onnxruntime, constant_inputs_are_asked_for_once) {
  const fake::Session session;
  OrtValue weight = floats_of({2, 3}), epsilon = floats_of({0});
  std::vector<float> y;
  CHECK(compute_constant(session, weight, epsilon, &y) == nullptr);
  CHECK(y == std::vector<float>({2, 3}));
  // A constant of a wrong shape is refused as any other input; one of a wrong type is not kept.
  OrtValue wide = floats_of({1, 2, 3});
  OrtStatus* status = compute_constant(session, wide, epsilon, &y);
  CHECK(says(status, "RMSNorm: weight has 1 dimensions and 3 elements, expected shape [2]"));
  fake::release_status(status);
  weight.type = kInt32;
  status = compute_constant(session, weight, epsilon, &y);
  CHECK(says(status, "RMSNorm: weight is missing, expected a tensor"));
  fake::release_status(status);
  for (OrtValue* value : {&weight, &epsilon, &wide}) release(value);
  CHECK(fake::live_statuses() == 0);
}

TEST(onnxruntime, threads) {
  kThreads.run(
      kThreads.self, 200,
      [](void*, size_t i) {
        const uint64_t id = bitnet_onnx_counters_new();
        {
          const fake::Session session(i % 2 ? id : 0);
          fake::Node node(session, "RMSNorm");
          compute_once(&node);
          if (i % 3 == 0) bitnet_onnx_counters_free(id);
          compute_once(&node);
          counted(id);
        }
        bitnet_onnx_counters_free(id);
      },
      nullptr);
  CHECK(fake::live_statuses() == 0);
}
