// What a call that can fail returns: a code of the C interface, and one sentence.
#pragma once

#include <string>
#include <string_view>

#include "bitnet_edge.h"

// A Swift package cannot pass -ffp-contract=off, and all platforms compute the same numbers.
#if defined(__clang__)
#pragma clang fp contract(off)
#endif

namespace edge {

// What C++ makes by itself is written out, as it would be put in at every return.
struct Status {
  Status();
  Status(bitnet_edge_code what, std::string says);
  Status(const Status& other);
  Status(Status&& other);
  Status& operator=(Status&& other);
  ~Status();

  bitnet_edge_code code = BITNET_EDGE_OK;
  std::string sentence;

  bool ok() const { return code == BITNET_EDGE_OK; }
};

// As printf; a sentence is cut, between characters, before it fills bitnet_edge_error.
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
Status fail(bitnet_edge_code code, const char* format, ...);

// The text between quotation marks for a sentence: control characters escaped, a long one cut.
std::string quoted(std::string_view text);

}  // namespace edge
