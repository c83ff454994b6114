// Continues ids greedily with an artifact in ONNX Runtime for Windows, without a cache, and prints
// each id with the bits of its logit.
//     greedy <onnxruntime.dll> <custom-op library> <model.onnx> <heads> <head_dim> <steps> <id>...
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include <string>
#include <vector>

#include "onnxruntime_c_api.h"

namespace {

const OrtApi* api;
const OrtMemoryInfo* memory;

void check(OrtStatus* status) {
  if (!status) return;
  fprintf(stderr, "%s\n", api->GetErrorMessage(status));
  exit(1);
}

std::wstring wide(const char* text) {
  std::wstring path(strlen(text), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text, -1, path.data(), static_cast<int>(path.size()));
  return path;
}

OrtValue* tensor(void* data, size_t bytes, std::vector<int64_t> shape,
                 ONNXTensorElementDataType type) {
  OrtValue* value;
  check(api->CreateTensorWithDataAsOrtValue(memory, data, bytes, shape.data(), shape.size(), type,
                                            &value));
  return value;
}

OrtSession* opened(const char* library, const char* model) {
  OrtEnv* env;
  OrtSessionOptions* options;
  OrtSession* session;
  OrtMemoryInfo* cpu;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "greedy", &env));
  check(api->CreateSessionOptions(&options));
  check(api->SetIntraOpNumThreads(options, 2));
  check(api->RegisterCustomOpsLibrary_V2(options, wide(library).c_str()));
  check(api->CreateSession(env, wide(model).c_str(), options, &session));
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &cpu));
  memory = cpu;
  return session;
}

// Feeds all ids with an empty past; returns the largest of the last position's logits, and where.
int64_t step(OrtSession* session, std::vector<int64_t>* ids, int64_t heads, int64_t head_dim,
             float* logit) {
  const int64_t length = static_cast<int64_t>(ids->size());
  std::vector<int64_t> mask(ids->size(), 1);
  float none;
  OrtAllocator* allocator;
  size_t count;
  check(api->GetAllocatorWithDefaultOptions(&allocator));
  check(api->SessionGetInputCount(session, &count));
  std::vector<const char*> names;
  std::vector<OrtValue*> values;
  for (size_t i = 0; i < count; i++) {
    char* name;
    check(api->SessionGetInputName(session, i, allocator, &name));
    names.push_back(name);
    const bool past = strncmp(name, "past", 4) == 0;
    std::vector<int64_t>* given = strcmp(name, "input_ids") == 0 ? ids : &mask;
    values.push_back(
        past ? tensor(&none, 0, {1, heads, 0, head_dim}, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
             : tensor(given->data(), 8 * given->size(), {1, length},
                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64));
  }
  const char* wanted[] = {"logits"};
  OrtValue* out[1] = {};
  check(api->Run(session, nullptr, names.data(), values.data(), count, wanted, 1, out));
  OrtTensorTypeAndShapeInfo* info;
  int64_t shape[3];
  float* logits;
  check(api->GetTensorTypeAndShape(out[0], &info));
  check(api->GetDimensions(info, shape, 3));
  check(api->GetTensorMutableData(out[0], reinterpret_cast<void**>(&logits)));
  logits += (shape[1] - 1) * shape[2];
  int64_t best = 0;
  for (int64_t i = 1; i < shape[2]; i++) {
    if (logits[i] > logits[best]) best = i;
  }
  *logit = logits[best];
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 8) return 1;
  const HMODULE library =
      LoadLibraryExW(wide(argv[1]).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (!library) {
    fprintf(stderr, "%s cannot be loaded: error %lu\n", argv[1], GetLastError());
    return 1;
  }
  const auto base = reinterpret_cast<const OrtApiBase* (*)()>(
      reinterpret_cast<void*>(GetProcAddress(library, "OrtGetApiBase")));
  api = base()->GetApi(17);
  OrtSession* session = opened(argv[2], argv[3]);
  std::vector<int64_t> ids;
  for (int i = 7; i < argc; i++) ids.push_back(atoll(argv[i]));
  for (int i = 0; i < atoi(argv[6]); i++) {
    float logit;
    uint32_t bits;
    ids.push_back(step(session, &ids, atoll(argv[4]), atoll(argv[5]), &logit));
    memcpy(&bits, &logit, 4);
    printf("%lld %08x\n", static_cast<long long>(ids.back()), bits);
  }
}
