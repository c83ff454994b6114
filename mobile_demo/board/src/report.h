// What is told of an answer: as JSON, and as a line of speed and memory.
#pragma once

#include <stddef.h>

#include <string>
#include <string_view>

#include "model.h"

namespace board {

// Between quotation marks. Bytes that are not UTF-8 become U+FFFD.
std::string json_string(std::string_view text);

// As transformers has them; null where the caller stopped the answer.
const char* finish_reason(bitnet_edge_finish finish);

size_t peak_memory();  // bytes that were resident at once, the mapped weights included

std::string json_line(const Model& model, const bitnet_edge_generation& generation,
                      const Answer& answer);
void say_model(const Model& model);
void say_speed(const Answer& answer);

}  // namespace board
