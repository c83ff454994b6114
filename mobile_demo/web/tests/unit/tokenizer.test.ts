/** The same ids and the same text as Python's tokenizer, from the same files. */

import { expect, test } from "vitest";
import { guard } from "../../engine/src/text/chat-template.ts";
import { StopStrings } from "../../engine/src/text/stop-strings.ts";
import { StreamDecoder } from "../../engine/src/text/stream-decoder.ts";
import { Tokenizer } from "../../engine/src/text/tokenizer.ts";
import { artifactFiles, cases } from "../fixtures.ts";

// What the library for browsers does in another way is refused by name.
const REFUSED: Record<string, RegExp> = {
  "single-word": /the added token "cat", which is a single word, which this page cannot do/,
  "split-special-tokens": /needs split_special_tokens, which/,
  "unknown-class": /tokenizer_class is NobodysTokenizer, which this page does not know/,
  words: /the pre-tokenizer Whitespace, which/,
  "words-clean-up": /the pre-tokenizer Whitespace, which/,
};

test.each(cases.tokenizers)("the tokenizer $name", ({ name, files, texts, chats, rows }) => {
  const encoded = Object.entries(files).map(([file, content]): [string, Uint8Array] => [
    file,
    new TextEncoder().encode(JSON.stringify(content)),
  ]);
  const refused = REFUSED[name];
  if (refused) {
    expect(() => new Tokenizer(new Map(encoded))).toThrow(refused);
    return;
  }
  const small = new Tokenizer(new Map(encoded));
  for (const { text, ids } of texts) expect(small.encode(text), text).toEqual(ids);
  for (const { messages, ids } of chats) {
    if (ids) expect(small.encodeChat(messages), String(messages[0]?.content)).toEqual(ids);
    else expect(() => small.encodeChat(messages)).toThrow();
  }
  for (const { ids, text, pieces } of rows) {
    expect(small.decode(ids.filter((id) => !small.specialIds.has(id)))).toBe(text);
    const decoder = new StreamDecoder(small);
    expect([...ids.map((id) => decoder.push(id)), decoder.flush()]).toEqual(pieces);
  }
});

test("a special token in a message is cut, overlapping ones too", () => {
  const { messages, mark } = guard(
    [{ role: "user", content: "a<x><x>b\ue000" }],
    ["<x>", "x><", "b"],
  );
  expect(mark).toBe("\ue001");
  expect(messages[0]!.content).toBe("a<\ue001x\ue001><\ue001x>b\ue001\ue000");
});

test("a secret name never reaches the model", () => {
  const files = artifactFiles();
  const file = JSON.parse(new TextDecoder().decode(files.get("tokenizer.json")));
  const changed = {
    ...file,
    normalizer: { type: "Prepend", prepend: "\u2581" },
    added_tokens: file.added_tokens.map((token: object) => ({ ...token, normalized: true })),
  };
  files.set("tokenizer.json", new TextEncoder().encode(JSON.stringify(changed)));
  const template = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}";
  files.set("chat_template.jinja", new TextEncoder().encode(template));
  const chat = ["a <|eot_id|> b", "c"].map((content) => ({ role: "user" as const, content }));
  const ids = () => new Tokenizer(files).encodeChat(chat);
  expect(ids).toThrow(/does not tell the template's special tokens/);
});

test.each(["{{ messages[0].content|length }}", "{{ messages[0].content[:9] }}"])(
  "a template that looks into such a text is refused: %s",
  (source) => {
    const files = artifactFiles();
    files.set("chat_template.jinja", new TextEncoder().encode(source));
    const chat = (content: string) => new Tokenizer(files).encodeChat([{ role: "user", content }]);
    expect(() => chat("hello <|eot_id|> there")).toThrow(/looks into a message's text/);
    expect(chat("hello there").length).toBeGreaterThan(0);
  },
);

test("a template that rewrites earlier turns has no ids after a reply", () => {
  const files = artifactFiles();
  const last = "{{ messages[-1]['content'] }}";
  files.set("chat_template.jinja", new TextEncoder().encode(last));
  expect(new Tokenizer(files).encodeAfterReply([{ role: "user", content: "a" }], [])).toBeNull();
});

test("damaged files are refused with their name", () => {
  const files = artifactFiles();
  files.set("tokenizer_config.json", new TextEncoder().encode("{"));
  expect(() => new Tokenizer(files)).toThrow(/tokenizer_config.json is not JSON/);
});

test.each([
  [["lo"], ["hel", "l", "o"], "hel"],
  [["lo", "ello"], ["hell", "o"], "h"],
  [["xyz"], ["ax", "y", "b"], "axyb"],
  [["xyz"], ["ax", "y"], "axy"],
])("stop strings %j in %j", (strings, pieces, text) => {
  const stop = new StopStrings(strings);
  expect(pieces.map((piece) => stop.push(piece)).join("") + stop.flush()).toBe(text);
});
