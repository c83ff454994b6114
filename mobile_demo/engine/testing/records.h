// Records between a tool and its test: a count of bytes as 4 little-endian bytes, then the bytes.
#pragma once

#include <stdint.h>
#include <stdio.h>

#include <string>
#include <string_view>

static inline bool read_record(std::string* out) {
  uint32_t size;
  if (fread(&size, 1, 4, stdin) != 4 || size > (1u << 30)) return false;
  out->assign(size, '\0');
  return fread(&(*out)[0], 1, size, stdin) == size;
}

static inline void write_record(std::string_view bytes) {
  const uint32_t size = static_cast<uint32_t>(bytes.size());
  fwrite(&size, 4, 1, stdout);
  fwrite(bytes.data(), 1, bytes.size(), stdout);
  fflush(stdout);
}
