/**
 * Text to ids and back from the files of an artifact, with the ids that end an answer.
 * Knows neither model nor cache; the rules are those of `bitnet_onnx/text/`.
 */

import { Tokenizer as Backend } from "@huggingface/tokenizers";
import {
  ChatTemplates,
  guard,
  MARKERS,
  type Message,
  type TemplateOptions,
} from "./chat-template.ts";
import { EngineError } from "./errors.ts";
import { aroundReplies, type Reply } from "./replies.ts";

type Files = ReadonlyMap<string, Uint8Array>;
type Json = Record<string, unknown>;

// Stands for a reply while a template is split around it; trimming and quoting leave it whole.
const REPLY = "bitnetREPLYcb1f4e7dREPLYbitnet";

export class Tokenizer {
  readonly specialIds: ReadonlySet<number>;
  /** The special ids that an answer does not show: all but those around tool calls. */
  readonly hiddenIds: ReadonlySet<number>;
  readonly eosIds: ReadonlySet<number>;
  readonly #backend: Backend;
  readonly #names: Readonly<Record<string, string>>;
  readonly #special: readonly string[];
  readonly #bos: number | null;
  readonly #template: ChatTemplates | null;

  constructor(files: Files) {
    const config = readJson(files, "tokenizer_config.json");
    const generation = files.has("generation_config.json")
      ? readJson(files, "generation_config.json")
      : {};
    try {
      this.#backend = new Backend(readJson(files, "tokenizer.json"), config);
    } catch (error) {
      throw new EngineError("artifact", `tokenizer.json is not a tokenizer: ${String(error)}.`);
    }
    this.#names = namedTokens(config);
    const added = [...this.#backend.get_added_tokens_decoder()].filter(
      ([, token]) => token.special,
    );
    this.specialIds = new Set(added.map(([id]) => id));
    this.#special = added.map(([, token]) => token.content);
    this.#bos = this.#bosId(config, generation);
    const templates = readTemplates(files, config);
    this.#template = templates === null ? null : new ChatTemplates(templates, this.#names);
    const shown = added.filter(([, token]) => MARKERS.has(token.content)).map(([id]) => id);
    this.hiddenIds = new Set([...this.specialIds].filter((id) => !shown.includes(id)));
    this.eosIds = new Set([...this.#ids("eos_token", generation), ...this.#endOfTurn()]);
  }

  get hasChatTemplate(): boolean {
    return this.#template !== null;
  }

  /** With bos exactly once; special tokens written in the text count as such. */
  encode(text: string): number[] {
    return this.#withBos(this.#encode(text));
  }

  decode(ids: readonly number[]): string {
    const known = ids.filter((id) => this.#backend.id_to_token(id) !== undefined);
    if (known.length === 0) return "";
    return this.#backend.decode(known, { clean_up_tokenization_spaces: false });
  }

  /** The text of a chat, by the template that transformers would take. */
  renderChat(
    messages: readonly Message[],
    generationPrompt = true,
    options: TemplateOptions = {},
  ): string {
    if (!this.#template) {
      throw new EngineError("artifact", "The model has no chat template, so it cannot chat.");
    }
    return this.#template.render(messages, generationPrompt, options);
  }

  /**
   * Special tokens inside the messages stay text: only the template speaks with them. replies: the
   * model's own answers by their place; each keeps its ids where the chat holds its text as it is.
   */
  encodeChat(
    messages: readonly Message[],
    replies: ReadonlyMap<number, Reply> = new Map(),
    options: TemplateOptions = {},
  ): number[] {
    const guarded = guard(messages, this.#special, options);
    const { mark } = guarded;
    // A template that writes JSON in ASCII writes the mark as an escape.
    const asciiMark = `\\u${mark.charCodeAt(0).toString(16)}`;
    const render = (messages: readonly Message[]) =>
      this.renderChat(messages, true, guarded.options).replaceAll(asciiMark, mark);
    const pieces = aroundReplies(render, guarded.messages, replies, guarded.reply, mark);
    return this.#withBos(
      pieces.flatMap((piece) =>
        typeof piece === "string" ? this.#encodeGuarded(piece, mark) : [...piece],
      ),
    );
  }

  /** The text of ids where they follow a prompt, special tokens included. */
  decodeAfter(prompt: readonly number[], ids: readonly number[]): string {
    const tail = prompt.slice(-16);
    return this.decode([...tail, ...ids]).slice(this.decode(tail).length);
  }

  /**
   * Ids that follow the reply to `before`: the end of its turn, then `after`. Null where the
   * template rewrites what was said before, so that only the whole chat has a meaning.
   */
  encodeAfterReply(before: readonly Message[], after: readonly Message[]): number[] | null {
    const { messages, mark } = guard(
      [...before, { role: "assistant", content: REPLY }, ...after],
      this.#special,
    );
    const prompt = this.renderChat(messages.slice(0, before.length));
    const whole = this.renderChat(messages, after.length > 0);
    const place = whole.indexOf(REPLY);
    const tail = whole.slice(place + REPLY.length);
    if (place < 0 || whole.slice(0, place) !== prompt || tail.includes(REPLY)) return null;
    return this.#encodeGuarded(tail, mark);
  }

  #encode(text: string): number[] {
    return this.#backend.encode(text, { add_special_tokens: false }).ids;
  }

  #encodeGuarded(rendered: string, mark: string): number[] {
    return rendered.split(mark).flatMap((piece) => this.#encode(piece));
  }

  #withBos(ids: number[]): number[] {
    if (this.#bos === null) return ids;
    const start = ids.findIndex((id) => id !== this.#bos);
    return [this.#bos, ...(start < 0 ? [] : ids.slice(start))];
  }

  /** The token that the template writes after an assistant's turn, if it is a special one. */
  #endOfTurn(): number[] {
    if (!this.#template) return [];
    try {
      const after = this.encodeAfterReply([{ role: "user", content: "a" }], []) ?? [];
      return after.slice(0, 1).filter((id) => this.specialIds.has(id));
    } catch {
      return []; // a template that wants more than one message
    }
  }

  #bosId(config: Json, generation: Json): number | null {
    // "bos_token": null says that there is none, whatever generation_config holds.
    const none = config["add_bos_token"] === false || config["bos_token"] === null;
    return none ? null : (this.#ids("bos_token", generation)[0] ?? null);
  }

  /** Ids of a named token: the tokenizer's, and generation_config's. */
  #ids(name: string, generation: Json): number[] {
    const ids: number[] = [];
    const text = this.#names[name];
    if (text !== undefined) {
      const id = this.#backend.token_to_id(text);
      if (id === undefined) {
        throw new EngineError(
          "artifact",
          `tokenizer.json does not hold the ${name} ${JSON.stringify(text)}.`,
        );
      }
      ids.push(id);
    }
    const value = generation[`${name}_id`] ?? [];
    for (const id of Array.isArray(value) ? value : [value]) {
      if (!Number.isSafeInteger(id) || id < 0) {
        throw new EngineError(
          "artifact",
          `generation_config.json holds ${name}_id ${JSON.stringify(value)}.`,
        );
      }
      ids.push(id);
    }
    return ids;
  }
}

/**
 * Ids one by one to text whose pieces, joined, equal `decode` of all of them. A character whose
 * bytes are spread over several tokens is held until it is whole.
 */
export class StreamDecoder {
  // An unfinished UTF-8 character is at most 3 bytes, so at most 3 replacement characters.
  static readonly #HELD = 3;
  readonly #tokenizer: Tokenizer;
  // The chunk before keeps decoders that strip the first space from doing so mid-text.
  #before: number[] = [];
  #window: number[] = [];
  #emitted = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** The text that this id completes; may be empty. */
  push(id: number): string {
    if (this.#tokenizer.hiddenIds.has(id)) return "";
    this.#window.push(id);
    const text = this.#windowText();
    const whole = text.replace(/\ufffd+$/, "");
    const end = Math.max(whole.length, text.length - StreamDecoder.#HELD);
    const piece = text.slice(this.#emitted, end);
    this.#emitted = Math.max(this.#emitted, end);
    if (text && whole.length === text.length) {
      [this.#before, this.#window, this.#emitted] = [this.#window, [], 0];
    }
    return piece;
  }

  /** What is held at the end: bytes that no token completed. */
  flush(): string {
    const piece = this.#windowText().slice(this.#emitted);
    [this.#before, this.#window, this.#emitted] = [[], [], 0];
    return piece;
  }

  #windowText(): string {
    const both = this.#tokenizer.decode([...this.#before, ...this.#window]);
    return both.slice(this.#tokenizer.decode(this.#before).length);
  }
}

function readText(files: Files, name: string, ignoreBOM = false): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM }).decode(files.get(name));
  } catch {
    throw new EngineError("artifact", `The model's ${name} is not UTF-8.`);
  }
}

function readJson(files: Files, name: string): Json {
  try {
    return JSON.parse(readText(files, name)) as Json;
  } catch (error) {
    throw new EngineError("artifact", `The model's ${name} is not JSON: ${String(error)}.`);
  }
}

/** By name: chat_template.jinja, else what tokenizer_config.json or an older file holds. */
function readTemplates(files: Files, config: Json): Map<string, string> | null {
  if (files.has("chat_template.jinja")) {
    return new Map([["default", readText(files, "chat_template.jinja", true)]]);
  }
  const old = "chat_template.json";
  const field =
    config["chat_template"] ?? (files.has(old) ? readJson(files, old)["chat_template"] : null);
  if (field == null) return null;
  if (typeof field === "string") return new Map([["default", field]]);
  const named: [unknown, unknown][] = Array.isArray(field)
    ? field.map((entry: Json | null) => [entry?.["name"], entry?.["template"]])
    : Object.entries(field);
  const isText = (pair: [unknown, unknown]): pair is [string, string] =>
    pair.every((text) => typeof text === "string");
  if (named.length && named.every(isText)) return new Map(named);
  throw new EngineError("artifact", "chat_template in tokenizer_config.json is not text.");
}

const NAMED = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"].map((name) => `${name}_token`);

/** The tokens that tokenizer_config.json names, such as bos_token and image_token. */
function namedTokens(config: Json): Record<string, string> {
  const names = Object.entries(config).filter(([name, token]) =>
    NAMED.includes(name)
      ? token != null
      : name.endsWith("_token") && token !== null && ["string", "object"].includes(typeof token),
  );
  const extra = config["extra_special_tokens"];
  if (typeof extra === "object" && extra !== null && !Array.isArray(extra)) {
    names.push(...Object.entries(extra));
  }
  return Object.fromEntries(names.map(([name, token]) => [name, tokenText(token)]));
}

function tokenText(token: unknown): string {
  const text = typeof token === "object" ? (token as { content?: unknown }).content : token;
  if (typeof text === "string") return text;
  throw new EngineError(
    "artifact",
    `tokenizer_config.json names the special token ${JSON.stringify(token)}.`,
  );
}
