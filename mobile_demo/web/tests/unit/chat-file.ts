/** A second reader of `chat.json`, for the parts that the bundled model's file has. */

import { readFileSync } from "node:fs";
import type { Message } from "../../engine/src/text/chat-template.ts";
import { Tokenizer } from "../../engine/src/text/tokenizer.ts";
import { artifactFiles, VECTORS } from "../fixtures.ts";

type Part = { text: string } | { token: string; id: number };

interface Role {
  strip_left: string;
  strip_right: string;
  before: Part[];
  after?: Part[];
}

interface ChatFile {
  eos_token_ids: number[];
  conversation: Record<"system" | "user" | "assistant", Role> & { prompt: Part[] };
}

export const chatFile = JSON.parse(readFileSync(`${VECTORS}/chat.json`, "utf8")) as ChatFile;

const plain = plainTokenizer();

export function idsOf(messages: readonly Message[], { conversation }: ChatFile): number[] {
  const ids: number[] = [];
  let text = "";
  const write = (parts: readonly Part[]) => {
    for (const part of parts) {
      if ("text" in part) text += part.text;
      else {
        ids.push(...plain.encode(text), part.id);
        text = "";
      }
    }
  };
  let before = conversation.user.before;
  for (const { role, content } of messages) {
    const rules = conversation[role as "system" | "user" | "assistant"];
    write(role === "user" ? before : rules.before);
    text += stripped(String(content), rules);
    before = rules.after ?? [];
  }
  write([...conversation.prompt, { token: "", id: -1 }]);
  return ids.slice(0, -1);
}

function stripped(text: string, { strip_left, strip_right }: Role): string {
  let [start, end] = [0, text.length];
  while (start < end && strip_left.includes(text.charAt(start))) start++;
  while (start < end && strip_right.includes(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}

/** Without added tokens, all that a text holds is text. */
function plainTokenizer(): Tokenizer {
  const files = artifactFiles();
  const file = JSON.parse(new TextDecoder().decode(files.get("tokenizer.json")));
  const json = { ...file, added_tokens: [], post_processor: null };
  return new Tokenizer(
    new Map([
      ["tokenizer.json", new TextEncoder().encode(JSON.stringify(json))],
      ["tokenizer_config.json", new TextEncoder().encode("{}")],
    ]),
  );
}
