/**
 * Turns messages into the text that the model was trained on, and keeps what a user writes from
 * posing as a control token, as `bitnet_onnx/text/` does. Knows no ids.
 */

import { Template } from "@huggingface/jinja";
import { EngineError } from "./errors.ts";

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export class ChatTemplate {
  readonly #template: Template;
  readonly #names: Readonly<Record<string, string>>;

  /** names: the special tokens that the template may write, as bos_token. */
  constructor(source: string, names: Readonly<Record<string, string>>) {
    this.#names = names;
    try {
      this.#template = new Template(source);
    } catch (error) {
      throw new EngineError(
        "artifact",
        `The model's chat template is not valid Jinja: ${String(error)}.`,
      );
    }
  }

  render(messages: readonly Message[], add_generation_prompt: boolean): string {
    try {
      return this.#template.render({
        messages: messages.map((message) => ({ ...message })),
        add_generation_prompt,
        tools: null,
        documents: null,
        ...this.#names,
      });
    } catch (error) {
      throw new EngineError("artifact", `The model's chat template failed: ${String(error)}.`);
    }
  }
}

/**
 * Messages with a mark after the first letter of each special token written in them. The mark is a
 * private-use character that the messages do not hold; the text is cut there before it is encoded.
 * A special token of one letter cannot be cut and is removed.
 */
export function guard(
  messages: readonly Message[],
  special: Iterable<string>,
): [Message[], string] {
  const written = new Set(messages.map((message) => message.content).join(""));
  let code = 0xe000;
  while (written.has(String.fromCharCode(code))) code++;
  const mark = String.fromCharCode(code);
  const tokens = [...special].sort((a, b) => b.length - a.length);
  const single = tokens.filter((token) => [...token].length === 1);
  const longer = tokens.filter((token) => [...token].length > 1).map(escaped);
  // The lookahead also finds tokens that overlap.
  const pattern = longer.length ? new RegExp(`(?=${longer.join("|")}).`, "gsu") : null;
  const guarded = messages.map((message) => {
    let content = message.content;
    for (const token of single) content = content.replaceAll(token, "");
    if (pattern) content = content.replace(pattern, (first) => first + mark);
    return { ...message, content };
  });
  return [guarded, mark];
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, (sign) => `\\${sign}`);
}
