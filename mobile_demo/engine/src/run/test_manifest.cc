// Manifests that are damaged or describe other files: a code and a sentence, whatever the bytes.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "run/manifest.h"
#include "run/sha256.h"
#include "testing/check.h"

using edge::Manifest;
using edge::Status;

static std::string folder;

static void write_file(const char* name, const std::string& text) {
  const std::string path = edge::join(folder, name);
  FILE* file = fopen(path.c_str(), "wb");
  CHECK(file && fwrite(text.data(), 1, text.size(), file) == text.size());
  if (file) fclose(file);
}

static std::string hash_of(const char* name) {
  std::string hex;
  CHECK(edge::sha256(edge::join(folder, name), &hex).ok());
  return hex;
}

static std::string good() {
  return R"({"format_version": 2, "operator_domain_version": 1, "task": "text-generation",
 "target": "native", "head": "two-step", "kv_cache": "int8", "context_length": 512,
 "vocab_size": 300, "num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 8,
 "network": "bitnet", "source": {}, "tools": {"onnx": "1"},
 "files": {"model.onnx": {"size": 5, "sha256": ")" +
         hash_of("model.onnx") + R"("}, "model.onnx_data": {"size": 4, "sha256": ")" +
         hash_of("model.onnx_data") + R"("}}})";
}

static Status open_with(const std::string& manifest, Manifest* opened) {
  write_file("manifest.json", manifest);
  return edge::open_manifest(folder, opened);
}

static std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  CHECK(at != text.npos);
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

static void the_hash() {
  const struct {
    size_t size;
    const char* hex;
  } cases[] = {
      {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {3, "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"},
      {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
      {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
      {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
      {65536, "bf718b6f653bebc184e1479f1935b8da974d701b893afcf49e701f3e2f9f9c5a"},
      {1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& c : cases) {
    CASE("the hash of %zu bytes", c.size);
    write_file("hashed", std::string(c.size, 'a'));
    CHECK(hash_of("hashed") == c.hex);
  }
  unlink(edge::join(folder, "hashed").c_str());
}

static void a_good_one() {
  CASE("a good manifest");
  Manifest m;
  CHECK(open_with(good(), &m).ok());
  CHECK(m.target == "native" && m.head == "two-step" && m.kv_cache == "int8");
  CHECK(m.network == "bitnet" && m.context_length == 512 && m.vocab_size == 300);
  CHECK(m.num_hidden_layers == 2 && m.num_key_value_heads == 1 && m.head_dim == 8);
  const std::string bf16 = replaced(good(), R"("head")", R"("linears": "bf16", "head")");
  CHECK(open_with(bf16, &m).ok());
  CHECK(m.weight_bytes() == 4 && m.files.size() == 2 && check_hashes(m).ok());
  std::string first = replaced(good(), R"("task": "text-generation",)", "");
  first = replaced(first, R"("network": "bitnet", )", "");
  first = replaced(first, R"("format_version": 2)", R"("format_version": 1)");
  CHECK(open_with(first, &m).ok());
  CHECK(m.network.empty());
}

static void wrong_ones() {
  const struct {
    const char *from, *to, *said;
  } cases[] = {
      {R"("format_version": 2)", R"("format_version": 3)", "format_version is 3"},
      {R"("format_version": 2)", R"("format_version": 2.0)", "format_version is 2"},
      {R"("format_version": 2)", R"("format_version": true)", "format_version is true"},
      {R"("format_version": 2, )", "", "format_version is missing"},
      {R"("head": "two-step", )", "", "the field head is missing"},
      {R"("network": "bitnet", )", "", "the field network is missing"},
      {R"("tools")", R"("new\nfield": 1, "tools")", "is unknown to this engine"},
      {R"("two-step")", R"("three-step")", "head is \"three-step\""},
      {R"("native")", "7", "target is 7"},
      {R"("head")", R"("linears": "int2", "head")", "linears is \"int2\""},
      {R"("format_version": 2)", R"("linears": "bf16", "format_version": 1)",
       "is unknown to this engine"},
      {R"("int8")", "null", "kv_cache is null"},
      {R"("text-generation")", R"("images")", "task is \"images\""},
      {R"("operator_domain_version": 1)", R"("operator_domain_version": 2)",
       "operator_domain_version is 2"},
      {R"("head_dim": 8)", R"("head_dim": 0)", "head_dim is 0"},
      {R"("head_dim": 8)", R"("head_dim": 2147483648)", "head_dim is 2147483648"},
      {R"("vocab_size": 300)", R"("vocab_size": 1e99)", "vocab_size is"},
      {R"("context_length": 512)", R"("context_length": "512")", "context_length is \"512\""},
      {R"("network": "bitnet")", R"("network": [])", "network is a list"},
      {R"("source": {})", R"("source": 1)", "source is 1"},
      {R"("model.onnx":)", R"("../model.onnx":)", "expected plain file names"},
      {R"("model.onnx":)", R"("a\u0000b":)", "expected plain file names"},
      {R"("model.onnx":)", R"("C:b":)", "expected plain file names"},
      {R"("model.onnx":)", R"("other.onnx":)", "files lacks model.onnx"},
      {R"("model.onnx_data":)", R"("model.onnx_data_":)", "files lacks model.onnx"},
      {R"("size": 5, )", "", "expected plain file names"},
      {R"("size": 5)", R"("size": 5.0)", "expected plain file names"},
      {R"("size": 5)", R"("size": 6)", "has 5 bytes, expected 6"},
      {R"("sha256": ")", R"("sha256": "0)", "is corrupt"},
      {"}}}", "}}", "manifest.json"},
      {"{", "[", "manifest.json"},
  };
  for (const auto& c : cases) {
    CASE("%s -> %s", c.from, c.to);
    Manifest m;
    const Status status = open_with(replaced(good(), c.from, c.to), &m);
    CHECK(status.code == BITNET_EDGE_ARTIFACT);
    if (!strstr(status.sentence.c_str(), c.said)) fprintf(stderr, "%s\n", status.sentence.c_str());
    CHECK(strstr(status.sentence.c_str(), c.said));
    CHECK(m.folder.empty());  // as it was
  }
}

static void wrong_files() {
  const std::string manifest = good(), path = edge::join(folder, "model.onnx_data");
  Manifest m;
  CASE("a file is missing");
  unlink(path.c_str());
  CHECK(strstr(open_with(manifest, &m).sentence.c_str(), "does not exist"));
  CASE("a folder in the place of a file");
  mkdir(path.c_str(), 0700);
  CHECK(open_with(manifest, &m).code == BITNET_EDGE_ARTIFACT);
  rmdir(path.c_str());
  CASE("a pipe in the place of a file");
  CHECK(mkfifo(path.c_str(), 0600) == 0);
  CHECK(strstr(open_with(manifest, &m).sentence.c_str(), "is not a file"));
  unlink(path.c_str());
  CASE("changed bytes");
  write_file("model.onnx_data", "dAta");
  CHECK(strstr(open_with(manifest, &m).sentence.c_str(), "corrupt"));
  write_file("model.onnx_data", "data");
  CHECK(open_with(manifest, &m).ok());
  CASE("no folder");
  const Status status = edge::open_manifest(edge::join(folder, "nothing"), &m);
  CHECK(status.code == BITNET_EDGE_ARTIFACT &&
        strstr(status.sentence.c_str(), "bitnet-onnx export"));
}

// Bytes cut off, dropped, doubled or replaced: an error or a manifest, and nothing else.
static void damaged(size_t rounds) {
  const std::string whole = good();
  Random random{20261129};
  for (size_t round = 0; round < rounds; round++) {
    CASE("damage %zu", round);
    std::string text = whole;
    for (size_t times = 1 + random.below(3); times > 0 && !text.empty(); times--) {
      const size_t at = random.below(text.size());
      switch (random.below(4)) {
        case 0:
          text.resize(at);
          break;
        case 1:
          text.erase(at, 1 + random.below(8));
          break;
        case 2:
          text[at] = static_cast<char>(random.next());
          break;
        default:
          text.insert(at, text.substr(random.below(text.size()), random.below(40)));
      }
    }
    Manifest m;
    const Status status = open_with(text, &m);
    CHECK(status.ok() || status.code == BITNET_EDGE_ARTIFACT);
    CHECK(status.ok() || !status.sentence.empty());
  }
}

int main(int argc, char** argv) {
  char name[] = "/tmp/bitnet_edge_XXXXXX";
  if (!mkdtemp(name)) return 1;
  folder = name;
  write_file("model.onnx", "graph");
  write_file("model.onnx_data", "data");
  the_hash();
  a_good_one();
  wrong_ones();
  wrong_files();
  damaged(argc > 1 ? strtoul(argv[1], nullptr, 10) : 300);
  for (const char* file : {"model.onnx", "model.onnx_data", "manifest.json"}) {
    unlink(edge::join(folder, file).c_str());
  }
  rmdir(name);
  return failures != 0;
}
