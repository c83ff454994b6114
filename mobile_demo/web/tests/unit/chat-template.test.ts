/** The same text as Python's templates, or an error: never another text. */

import { expect, test } from "vitest";
import { EngineError } from "../../engine/src/errors.ts";
import { Tokenizer } from "../../engine/src/text/tokenizer.ts";
import { artifactFiles, cases } from "../fixtures.ts";

const TOOLS = [{ name: "weather" }];

function tokenizerWith(template: string | null, field?: unknown, names: object = {}): Tokenizer {
  const files = artifactFiles();
  const config = JSON.parse(new TextDecoder().decode(files.get("tokenizer_config.json")));
  const changed = { ...config, chat_template: field, ...names };
  files.set("tokenizer_config.json", new TextEncoder().encode(JSON.stringify(changed)));
  files.delete("chat_template.jinja");
  if (template !== null) files.set("chat_template.jinja", new TextEncoder().encode(template));
  return new Tokenizer(files);
}

test("each feature renders as in Python or is refused", () => {
  let same = 0;
  const other: string[] = [];
  for (const { source, messages, text } of cases.templates) {
    try {
      if (tokenizerWith(source).renderChat(messages) === text) same++;
      else other.push(source);
    } catch (error) {
      expect(error).toBeInstanceOf(EngineError);
    }
  }
  expect(other).toEqual([]);
  expect(same).toBeGreaterThan(60);
});

test.each(cases.rewritten)("a reply keeps its ids where it is said: $source", (known) => {
  const text = known.messages[1]!.content as string;
  const replies = new Map([[1, { ids: known.reply, text, said: text }]]);
  expect(tokenizerWith(known.source).encodeChat(known.messages, replies)).toEqual(known.ids);
});

test.each([
  ["{{ 1.5 }}", /type Float/],
  ["{{ messages }}", /type Array/],
  ["{{ 'a' ~ true }}", /type Boolean/],
  ["{{ messages | tojson(2) }}", /no tojson/],
  ["{% for m in messages %}a{% if m %}{% break %}{% endif %}{% endfor %}", /before a break/],
  ["{{ messages | nothing }}", /failed/],
])("what the browser writes otherwise is refused: %s", (template, message) => {
  const render = () => tokenizerWith(template).renderChat([{ role: "user", content: "a" }]);
  expect(render).toThrow(message);
  expect(render).toThrow(EngineError);
});

test("named templates, tools and variables", () => {
  const user = [{ role: "user", content: "a" }];
  const named = { default: "d{{ sep_token }}{{ image_token }}", tool_use: "{{ tools[0].name }}" };
  for (const field of [
    named,
    Object.entries(named).map(([name, template]) => ({ name, template })),
  ]) {
    const tokenizer = tokenizerWith(null, field, {
      sep_token: "<s>",
      extra_special_tokens: { image_token: "<i>" },
    });
    expect(tokenizer.renderChat(user)).toBe("d<s><i>");
    expect(tokenizer.renderChat(user, true, { tools: TOOLS })).toBe("weather");
  }
  const thinking = tokenizerWith("{% if enable_thinking is false %}none{% endif %}");
  expect(
    thinking.renderChat(user, true, { chat_template_kwargs: { enable_thinking: false } }),
  ).toBe("none");
  expect(() => thinking.renderChat(user, true, { tools: TOOLS })).toThrow(/does not use tools/);
  expect(() => tokenizerWith(null, { rag: "x" }).renderChat(user)).toThrow(/are called rag/);
  expect(() => tokenizerWith(null, [7])).toThrow(/is not text/);
});
