#include <math.h>

#include "base/json.h"
#include "testing/check.h"

using namespace edge;

static bool refused(std::string_view text, const char* says = "") {
  CASE("%.*s", static_cast<int>(text.size()), text.data());
  Json json;
  const Status status = parse(text, "it", &json);
  CHECK(status.code == BITNET_EDGE_ARTIFACT);
  CHECK(json.root().is_null());
  if (status.sentence.find(says) == std::string::npos) {
    fprintf(stderr, "it says: %s\n", status.sentence.c_str());
    return false;
  }
  return true;
}

static void test_values() {
  Json json;
  const std::string_view text =
      " {\"a\": [1, -2.5e3, true, null, \"x\"], \"\": {}, \"b\":\"\\u0000\"} ";
  CHECK(parse(text, "it", &json).ok());
  const Value& root = json.root();
  CHECK(root.is_object() && root.size() == 3);
  const Value* a = root.get("a");
  CHECK(a && a->is_array() && a->size() == 5);
  size_t i = 0;
  for (const Value& item : *a) {
    if (i == 0) CHECK(item.is_integer() && item.integer() == 1 && item.number() == 1);
    if (i == 1) CHECK(!item.is_integer() && item.number() == -2500);
    if (i == 2) CHECK(item.is_bool() && item.boolean());
    if (i == 3) CHECK(item.is_null());
    if (i == 4) CHECK(item.text() == "x");
    i++;
  }
  CHECK(i == 5);
  CHECK(root.get("")->is_object() && root.get("")->size() == 0);
  CHECK(root.get("b")->text() == std::string_view("\0", 1));
  CHECK(!root.get("c") && !a->get("a"));
  std::string keys;
  for (Value::Iterator member = root.begin(); member != root.end(); ++member) {
    keys += std::string(member.key()) + ";";
  }
  CHECK(keys == "a;;b;");
}

static void test_numbers() {
  struct {
    const char* text;
    double number;
    bool integer;
  } kCases[] = {{"0", 0, true},
                {"-0", 0, true},
                {"-0.0", -0.0, false},
                {"1e-05", 1e-05, false},
                {"500000.0", 500000.0, false},
                {"0.1", 0.1, false},
                {"2.2250738585072014e-308", 2.2250738585072014e-308, false},
                {"123456789012345678901234567890", 123456789012345678901234567890.0, false},
                {"9223372036854775807", 9223372036854775807.0, true},
                {"-9223372036854775808", -9223372036854775808.0, true},
                {"9223372036854775808", 9223372036854775808.0, false},
                {"1E400", INFINITY, false},
                {"1e-99999999999999999999", 0, false},
                {"1E+2", 100, false}};
  for (const auto& c : kCases) {
    CASE("%s", c.text);
    Json json;
    CHECK(parse(c.text, "it", &json).ok());
    CHECK(json.root().number() == c.number && json.root().is_integer() == c.integer);
  }
}

static void test_strings() {
  Json json;
  CHECK(parse("\"\\ud83d\\ude00\\n\\\"\\/ é😀\\u00e9\"", "it", &json).ok());
  CHECK(json.root().text() == "😀\n\"/ é😀é");
}

static void test_refused() {
  CHECK(refused("", "its end at line 1, column 1"));
  CHECK(refused("{\"a\": 1,\n \"é\" 2}", "\"2\" at line 2, column 6, expected a colon"));
  CHECK(refused("{\"a\": 1, \"b\": 2, \"a\": 3}", "the key \"a\" twice"));
  CHECK(refused("[1, 2", "its end"));
  CHECK(refused("[1,]", "expected a JSON value"));
  CHECK(refused("{,}", "expected a key"));
  CHECK(refused("\"\\ud800\"", "surrogate"));
  CHECK(refused("\"\\udc00\\ud800\"", "surrogate"));
  CHECK(refused("\"\\ud800\\u0041\"", "surrogate"));
  CHECK(refused("\"a\nb\"", "control"));
  CHECK(refused("\"\xff\"", "UTF-8"));
  CHECK(refused("\"\xed\xa0\x80\"", "UTF-8"));
  CHECK(refused("\xef\xbb\xbf{}", "a JSON value"));
  CHECK(refused(std::string_view("{}\0", 3), "more text"));
  for (const char* text :
       {"01", "1.", ".5", "1e", "-", "+1", "NaN", "Infinity", "tru", "nulll", "'a'", "1 2", "[1 2]",
        "\"\\x\"", "\"\\u12g4\"", "\"", "\"\\", "{\"a\"}"}) {
    CHECK(refused(text));
  }
  const std::string deep(65, '['), fine(64, '[');
  CHECK(refused(deep + std::string(65, ']'), "64 levels"));
  Json json;
  CHECK(parse(fine + std::string(64, ']'), "it", &json).ok());
  CHECK(refused(std::string(1 << 20, '['), "64 levels"));
}

static void test_many_members() {
  std::string text = "{";
  for (int i = 0; i < 100000; i++)
    text += "\"k" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  Json json;
  CHECK(parse(text, "it", &json).ok());
  CHECK(json.root().size() == 100000 && json.get("k99999")->integer() == 99999);
  text.back() = ',';
  CHECK(refused(text + "\"k500\":1}", "\"k500\" twice"));
}

int main() {
  test_values();
  test_numbers();
  test_strings();
  test_refused();
  test_many_members();
  return failures != 0;
}
