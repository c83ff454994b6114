// Weights in huge pages, where Linux has them; see bitnet_onnx/runtime/pages.py.
#pragma once

#include <string>

namespace edge {

// Lets the files of a folder that are mapped be read into huge pages. It changes no number, so
// where it fails, nothing is said.
void ask_for_huge_pages(const std::string& folder);

}  // namespace edge
