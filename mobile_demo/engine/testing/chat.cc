// A tool for tests: the ids of a conversation. `chat FOLDER` reads records from stdin, each a count
// of bytes as 4 little-endian bytes, then the bytes, of which the first is a command:
//     s TEXT             start with a system prompt
//     n                  start without one
//     a SIZE USER ANSWER add a turn; SIZE: bytes of USER, as 4 bytes
//     p CONTEXT TEXT     the prompt for a message; CONTEXT as 4 bytes
//     r COUNT IDS TEXT   the answer to it; ids of 4 bytes
// It answers each with a record "", or "<code> <sentence>", and p with two further ones: the ids,
// and how many turns were forgotten. The first record that it writes is that of opening.
#include <stdio.h>
#include <string.h>

#include "chat/conversation.h"
#include "testing/records.h"
#include "text/tokenizer.h"

using namespace edge;

static void write_status(const Status& status) {
  write_record(status.ok() ? "" : std::to_string(status.code) + " " + status.sentence);
}

static int32_t number(std::string_view* bytes) {
  int32_t found = 0;
  memcpy(&found, bytes->data(), bytes->size() < 4 ? bytes->size() : 4);
  bytes->remove_prefix(bytes->size() < 4 ? bytes->size() : 4);
  return found;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Conversation> chat;
  Status status = Tokenizer::open(argv[1], &tokenizer);
  if (status.ok()) status = Conversation::open(argv[1], *tokenizer, &chat);
  write_status(status);
  if (!status.ok()) return 1;
  std::string record, asked;
  while (read_record(&record) && !record.empty()) {
    std::string_view rest = std::string_view(record).substr(1);
    if (record[0] == 's' || record[0] == 'n') {
      write_status(chat->start(rest, record[0] == 's'));
    } else if (record[0] == 'a') {
      const size_t size = static_cast<size_t>(number(&rest));
      write_status(chat->add(rest.substr(0, size), rest.substr(size)));
    } else if (record[0] == 'p') {
      const int32_t context = number(&rest);
      std::vector<int32_t> ids;
      int32_t forgotten = 0;
      status = chat->prompt(rest, context, &ids, &forgotten);
      write_status(status);
      if (!status.ok()) continue;
      asked = rest;
      write_record({reinterpret_cast<const char*>(ids.data()), 4 * ids.size()});
      write_record({reinterpret_cast<const char*>(&forgotten), 4});
    } else {
      std::vector<int32_t> ids(static_cast<size_t>(number(&rest)));
      for (int32_t& id : ids) id = number(&rest);
      chat->answered(asked, std::string(rest), std::move(ids));
      write_record("");
    }
  }
  return 0;
}
