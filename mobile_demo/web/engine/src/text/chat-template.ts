/**
 * Turns messages into the text that the model was trained on, and keeps what a user writes from
 * posing as a control token, as `bitnet_onnx/text/` does. Knows no ids.
 */

import type { Template } from "@huggingface/jinja";
import { EngineError } from "../errors.ts";
import { compile } from "./jinja.ts";

export interface Message {
  role: string;
  content?: unknown;
  [field: string]: unknown;
}

/** What a template sees besides the messages; the names are those of transformers. */
export interface TemplateOptions {
  tools?: readonly object[];
  documents?: readonly object[];
  chat_template_kwargs?: Readonly<Record<string, unknown>>;
}

const LONGEST = 1 << 17; // characters of a template, as in Python
const NESTED = ["tools", "documents"] as const;
const TAKEN = ["messages", "tools", "documents", "add_generation_prompt"];
/** The templates of an artifact by name; of a single one the name is "default". */
export class ChatTemplates {
  readonly #templates: ReadonlyMap<string, ChatTemplate>;

  /** names: the special tokens that a template may write, as bos_token. */
  constructor(sources: ReadonlyMap<string, string>, names: Readonly<Record<string, string>>) {
    this.#templates = new Map(
      [...sources].map(([name, source]) => [name, new ChatTemplate(source, names)]),
    );
  }

  /** By "tool_use" where there are tools and it exists, and by "default" else. */
  render(
    messages: readonly Message[],
    add_generation_prompt: boolean,
    options: TemplateOptions = {},
  ): string {
    const named = options.tools && this.#templates.get("tool_use");
    const template = named ?? this.#templates.get("default");
    if (template) return template.render(messages, add_generation_prompt, options);
    const names = [...this.#templates.keys()].join(", ");
    throw new EngineError(
      "artifact",
      `The model's chat templates are called ${names}, expected one that is called default.`,
    );
  }
}

class ChatTemplate {
  readonly #source: string;
  readonly #template: Template;
  readonly #names: Readonly<Record<string, string>>;

  constructor(source: string, names: Readonly<Record<string, string>>) {
    this.#source = source;
    this.#names = names;
    if (source.length > LONGEST) {
      throw new EngineError(
        "artifact",
        `The model's chat template has ${source.length} characters, expected at most ${LONGEST}.`,
      );
    }
    try {
      this.#template = compile(source);
    } catch (error) {
      throw new EngineError(
        "artifact",
        `The model's chat template cannot be used: ${String(error)}.`,
      );
    }
  }

  render(
    messages: readonly Message[],
    add_generation_prompt: boolean,
    options: TemplateOptions,
  ): string {
    this.#check(options);
    try {
      return this.#template.render({
        ...this.#names,
        ...options.chat_template_kwargs,
        messages: messages.map(plain),
        add_generation_prompt,
        tools: options.tools ?? null,
        documents: options.documents ?? null,
      });
    } catch (error) {
      throw new EngineError("artifact", `The model's chat template failed: ${String(error)}.`);
    }
  }

  #check(options: TemplateOptions): void {
    const variables = Object.keys(options.chat_template_kwargs ?? {});
    for (const name of variables.filter((name) => TAKEN.includes(name))) {
      throw new EngineError("options", `chat_template_kwargs names ${name}, expected another.`);
    }
    const given = NESTED.filter((name) => options[name]?.length);
    for (const name of [...given, ...variables]) {
      if (!new RegExp(`\\b${escaped(name)}\\b`).test(this.#source)) {
        throw new EngineError(
          "options",
          `The model's chat template does not use ${name}.`,
          `Leave ${name} out.`,
        );
      }
    }
  }
}

/** As transformers: without the fields that are null, and with the reasoning under each name. */
function plain(message: Message): Record<string, unknown> {
  const fields = Object.fromEntries(Object.entries(message).filter(([, value]) => value != null));
  const { reasoning_content, thinking, reasoning } = fields;
  const thought = reasoning_content ?? thinking ?? reasoning;
  if (thought === undefined) return fields;
  return { thinking: thought, ...fields, reasoning_content: thought };
}

/** The tokens around thoughts and tool calls, which an assistant's message may contain. */
export const MARKERS: ReadonlySet<string> = new Set(
  (
    "<think> </think> <tool_call> </tool_call> <|tool_call|> <|/tool_call|> <|python_tag|> " +
    "[TOOL_CALLS] [ARGS] <|tool_call_start|> <|tool_call_end|> <tool_calls> </tool_calls>"
  ).split(" "),
);

/** Values with a mark in each special token, the mark, and the function that puts it in a reply. */
export interface Guarded {
  messages: Message[];
  options: TemplateOptions;
  mark: string;
  reply: (text: string) => string;
}

/**
 * Messages with a mark after the first letter of each special token written in them. The mark is a
 * private-use character that the messages do not hold; the text is cut there before it is encoded.
 * An assistant's message keeps its MARKERS.
 */
export function guard(
  messages: readonly Message[],
  special: Iterable<string>,
  options: TemplateOptions = {},
): Guarded {
  const written = JSON.stringify([messages, options]);
  let code = 0xe000;
  while (written.includes(String.fromCharCode(code)) || written.includes(`\\u${code.toString(16)}`))
    code++;
  const mark = String.fromCharCode(code);
  const tokens = [...special];
  const change = marking(tokens, mark);
  const reply = marking(
    tokens.filter((token) => !MARKERS.has(token)),
    mark,
  );
  return {
    messages: messages.map(
      (message) => mapped(message, message.role === "assistant" ? reply : change) as Message,
    ),
    options: mapped(options, change) as TemplateOptions,
    mark,
    reply,
  };
}

function marking(special: readonly string[], mark: string): (text: string) => string {
  const tokens = [...special].sort((a, b) => b.length - a.length);
  // The lookahead also finds tokens that overlap.
  const any = tokens.map(escaped).join("|");
  const pattern = tokens.length ? new RegExp(`(?=${any}).`, "gsu") : null;
  return (text) => (pattern ? text.replace(pattern, (first) => first + mark) : text);
}

/** The value with all its texts changed, the keys of nested objects included. */
function mapped(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => mapped(item, change));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [change(key), mapped(item, change)]),
  );
}

export function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, (sign) => `\\${sign}`);
}
