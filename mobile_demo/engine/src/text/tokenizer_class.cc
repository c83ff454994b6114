#include "text/tokenizer_class.h"

#include "words/keys.h"

namespace edge {

#define BYTE_LEVEL(REGEX) \
  R"({"type": "ByteLevel", "add_prefix_space": %s, "trim_offsets": true, "use_regex": )" REGEX "}"
#define QWEN(LETTERS, OTHERS)                                                         \
  R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": )" \
  R"("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?)" LETTERS R"(+|\\p{N}|)"    \
  R"( ?[^\\s)" OTHERS R"(\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, )"       \
  R"("behavior": "Isolated", "invert": false}, )" BYTE_LEVEL("false") "]}"

constexpr char kNfc[] = R"({"type": "NFC"})";
constexpr char kNone[] = "null";
constexpr char kQwenNames[] =
    R"({"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})";

constexpr TokenizerClass kClasses[] = {
    {"GPT2Tokenizer", kNone, BYTE_LEVEL("true"),
     R"({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", )"
     R"("unk_token": "<|endoftext|>"})"},
    {"GPTNeoXTokenizer", kNfc, BYTE_LEVEL("true"),
     R"({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", )"
     R"("unk_token": "<|endoftext|>", "pad_token": "<|padding|>"})",
     false},
    {"CohereTokenizer", kNfc,
     R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, )" BYTE_LEVEL(
         "true") "]}",
     R"({"bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>", )"
     R"("unk_token": "<UNK>", "sep_token": "<SEP>", "pad_token": "<PAD>", )"
     R"("cls_token": "<CLS>", "mask_token": "<MASK_TOKEN>"})"},
    {"Qwen2Tokenizer", kNfc, QWEN(R"(\\p{L})", R"(\\p{L})"), kQwenNames},
    {"Qwen3_5Tokenizer", kNfc, QWEN(R"([\\p{L}\\p{M}])", R"(\\p{L}\\p{M})"), kQwenNames},
};

// Classes that take the file as it is.
constexpr std::string_view kPlain[] = {"PreTrainedTokenizer", "TokenizersBackend", "PythonBackend",
                                       "BloomTokenizer"};

Status find_class(const Value& config, const Value& model, std::string_view file,
                  const TokenizerClass** out) {
  *out = nullptr;
  const Value* given = config.get("tokenizer_class");
  if (!truthy(given)) given = model.get("tokenizer_class");
  std::string name;
  if (truthy(given)) {
    if (!given->is_string()) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "tokenizer_class of tokenizer_config.json is another value than a text, expected "
                  "the name of a class");
    }
    name = given->string();
  } else if (const Value* type = model.get("model_type"); type && type->text() == "qwen3") {
    name = "Qwen2Tokenizer";  // the only network for which transformers registers one
  } else {
    return {};
  }
  constexpr std::string_view kFast = "Fast";
  if (name.size() > kFast.size() && name.substr(name.size() - kFast.size()) == kFast) {
    name.resize(name.size() - kFast.size());
  }
  for (const std::string_view plain : kPlain) {
    if (name == plain) return {};
  }
  // Llama 3's files name a class that they do not fit.
  const bool llama = name == "LlamaTokenizer";
  if (llama && file.find("\"ByteLevel\"") != std::string_view::npos) return {};
  for (const TokenizerClass& known : kClasses) {
    if (name != known.name) continue;
    *out = &known;
    return {};
  }
  if (llama || name == "GemmaTokenizer") {
    return fail(BITNET_EDGE_UNSUPPORTED,
                "tokenizer_class is %s, whose tokens are pieces of characters (SentencePiece), and "
                "this engine knows byte-level BPE only, expected a tokenizer such as LLaMA 3's, "
                "GPT-2's or Qwen's",
                quoted(name).c_str());
  }
  return fail(BITNET_EDGE_UNSUPPORTED,
              "tokenizer_class is %s, which this engine does not know, expected "
              "PreTrainedTokenizerFast or one of GPT2Tokenizer, GPTNeoXTokenizer, CohereTokenizer, "
              "Qwen2Tokenizer, Qwen3_5Tokenizer",
              quoted(name).c_str());
}

}  // namespace edge
