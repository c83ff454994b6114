// A tool for tests: what the text part makes of a folder's tokenizer.
//     ids FOLDER encode|text|pieces|decode|stream
// Reads records from stdin, each a count of bytes as 4 little-endian bytes, then the bytes. A
// record is a text, or ids of 4 bytes each; of `pieces` several, each with one byte before it
// that says what it is, and an empty record ends them. Of `stream` the ids are followed by stop
// strings, which an empty record ends, too. Writes records of the same form.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "testing/records.h"
#include "text/stream.h"
#include "text/tokenizer.h"

using namespace edge;

static void write_ids(const std::vector<int32_t>& ids) {
  write_record({reinterpret_cast<const char*>(ids.data()), 4 * ids.size()});
}

static std::vector<int32_t> ids_of(std::string_view bytes) {
  std::vector<int32_t> ids(bytes.size() / 4);
  if (!ids.empty()) memcpy(ids.data(), bytes.data(), 4 * ids.size());
  return ids;
}

static std::vector<Tokenizer::Piece> pieces_of(std::string record) {
  std::vector<Tokenizer::Piece> pieces;
  do {
    const bool is_ids = record[0] == 'i';
    const std::string rest = record.substr(1);
    pieces.push_back({is_ids ? "" : rest, is_ids ? ids_of(rest) : std::vector<int32_t>(), is_ids});
  } while (read_record(&record) && !record.empty());
  return pieces;
}

static void stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                   const std::vector<std::string>& stop) {
  AnswerText answer(tokenizer, stop);
  for (const int32_t id : ids) {
    write_record(answer.add(id));
    if (answer.stopped()) break;
  }
  const bool stopped = answer.stopped();
  write_record(answer.finish());
  write_record(stopped ? "stopped" : "ended");
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::unique_ptr<Tokenizer> tokenizer;
  const Status opened = Tokenizer::open(argv[1], &tokenizer);
  if (!opened.ok()) {
    fprintf(stderr, "%d %s\n", opened.code, opened.sentence.c_str());
    return 2;
  }
  const std::string what = argv[2];
  std::string record;
  while (read_record(&record)) {
    std::vector<int32_t> ids;
    Status status;
    if (what == "encode" || what == "text") {
      status = tokenizer->encode(record, what == "encode", &ids);
    } else if (what == "pieces") {
      status = record.empty() ? Status() : tokenizer->encode_pieces(pieces_of(record), &ids);
    } else if (what == "decode") {
      ids = ids_of(record);
      write_record(tokenizer->decode(ids.data(), ids.size(), true));
      write_record(tokenizer->decode(ids.data(), ids.size(), false));
      continue;
    } else {
      ids = ids_of(record);
      std::vector<std::string> stop;
      while (read_record(&record) && !record.empty()) stop.push_back(record);
      stream(*tokenizer, ids, stop);
      continue;
    }
    if (!status.ok()) {
      fprintf(stderr, "%d %s\n", status.code, status.sentence.c_str());
      return 1;
    }
    write_ids(ids);
  }
  return 0;
}
