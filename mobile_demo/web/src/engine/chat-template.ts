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
  // The lookahead also finds tokens that overlap.
  const any = tokens.map(escaped).join("|");
  const pattern = tokens.length ? new RegExp(`(?=${any}).`, "gsu") : null;
  const guarded = messages.map((message) => ({
    ...message,
    content: pattern ? message.content.replace(pattern, (first) => first + mark) : message.content,
  }));
  return [guarded, mark];
}

export function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, (sign) => `\\${sign}`);
}
