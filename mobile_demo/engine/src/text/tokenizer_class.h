// What transformers makes of a tokenizer.json: its class can replace parts of the file. The rules
// are those of bitnet_onnx/text/tokenizer_class.py.
#pragma once

#include "base/json.h"

namespace edge {

struct TokenizerClass {
  const char* name;
  // JSON; null: those of the file. pre_tokenizer has %s where add_prefix_space comes.
  const char* normalizer = nullptr;
  const char* pre_tokenizer = nullptr;
  const char* names = "{}";  // of special tokens where tokenizer_config.json is silent
  bool keeps_post_processor = true;
};

// The class that tokenizer_config.json, config.json or the network names; null where the file is
// taken as it is. UNSUPPORTED for a class that is not known here.
Status find_class(const Value& config, const Value& model, std::string_view file,
                  const TokenizerClass** out);

}  // namespace edge
