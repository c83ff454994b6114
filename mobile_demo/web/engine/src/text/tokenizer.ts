/**
 * Text to ids and back from the files of an artifact, with the ids that end an answer.
 * Knows neither model nor cache; the rules are those of `bitnet_onnx/text/`.
 */

import { Tokenizer as Backend } from "@huggingface/tokenizers";
import { EngineError } from "../errors.ts";
import { shownBytes } from "./byte-tokens.ts";
import {
  ChatTemplates,
  escaped,
  guard,
  MARKERS,
  type Message,
  type TemplateOptions,
} from "./chat-template.ts";
import { cleaned } from "./clean-up.ts";
import { aroundReplies, type Reply } from "./replies.ts";
import {
  type Files,
  type Json,
  readJson,
  readText,
  type Settled,
  settle,
} from "./tokenizer-files.ts";

// Stands for a reply while a template is split around it; trimming and quoting leave it whole.
const REPLY = "bitnetREPLYcb1f4e7dREPLYbitnet";
const CLEAN_UP = "clean_up_tokenization_spaces";

// Before the names of special tokens that the template writes; nobody can write it in a message.
const SECRET = crypto.randomUUID().replaceAll("-", "");

export class Tokenizer {
  readonly specialIds: ReadonlySet<number>;
  /** The special ids that an answer does not show: all but those around tool calls. */
  readonly hiddenIds: ReadonlySet<number>;
  readonly eosIds: ReadonlySet<number>;
  readonly #backend: Backend;
  /** The ids of tokens for single bytes, such as <0xE2>, where decode joins them. */
  readonly byteIds: ReadonlySet<number>;
  /** Whether decode removes the blanks before punctuation. */
  readonly cleansUp: boolean;
  readonly #file: Settled["tokenizer"];
  readonly #config: Json;
  readonly #names: Readonly<Record<string, string>>;
  /** Special tokens, and named ones that the tokenizer lacks. */
  readonly #special: readonly string[];
  readonly #head: readonly number[];
  readonly #tail: readonly number[];
  readonly #line: readonly number[];
  readonly #template: ChatTemplates | null;
  #renamed: [Backend, Map<number, number>] | null = null;

  constructor(files: Files) {
    const { tokenizer, config, names } = settle(files);
    [this.#file, this.#config, this.#names] = [tokenizer, config, names];
    const generation = files.has("generation_config.json")
      ? readJson(files, "generation_config.json")
      : {};
    this.#backend = this.#open(tokenizer);
    const added = [...this.#backend.get_added_tokens_decoder()].filter(
      ([, token]) => token.special,
    );
    this.specialIds = new Set(added.map(([id]) => id));
    const missing = Object.values(names).filter((name) => this.#id(name) === undefined);
    this.#special = [...new Set([...added.map(([, token]) => token.content), ...missing])];
    for (const name of ["bos_token", "eos_token"]) {
      const text = readJson(files, "tokenizer_config.json")[name] == null ? null : names[name];
      if (text != null && this.#id(text) === undefined) {
        throw new EngineError(
          "artifact",
          `tokenizer.json does not hold the ${name} ${JSON.stringify(text)}.`,
        );
      }
    }
    const joined = JSON.stringify(tokenizer["decoder"] ?? null).includes('"ByteFallback"');
    const bytes = [...Array(joined ? 256 : 0).keys()].map((byte) =>
      this.#id(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
    );
    this.byteIds = new Set(bytes.filter((id) => id !== undefined));
    const words = (tokenizer["model"] as Json)["type"] !== "BPE";
    const anyway = `${CLEAN_UP}_for_bpe_even_though_it_will_corrupt_output`;
    this.cleansUp = Boolean(config[CLEAN_UP]) && (words || Boolean(config[anyway]));
    const ends = this.#ids("eos_token", generation);
    const [head, tail] = this.#addedAround();
    while (ends.includes(tail.at(-1) ?? -1)) tail.pop();
    [this.#head, this.#tail] = [head, tail];
    const line = this.#encode("\n");
    const same = String([...line, ...this.#encode("a")]) === String(this.#encode("\na"));
    this.#line = same ? [] : line;
    const templates = readTemplates(files, config);
    this.#template = templates === null ? null : new ChatTemplates(templates, names);
    const shown = added.filter(([, token]) => MARKERS.has(token.content)).map(([id]) => id);
    this.hiddenIds = new Set([...this.specialIds].filter((id) => !shown.includes(id)));
    this.eosIds = new Set([...ends, ...this.#endOfTurn()]);
  }

  get hasChatTemplate(): boolean {
    return this.#template !== null;
  }

  /**
   * With what the post-processor adds, a bos most often, which comes exactly once; an eos at the end
   * is left out. Special tokens written in the text count as such.
   */
  encode(text: string): number[] {
    const head = this.#head;
    let ids = this.#encode(text);
    while (head.length > 0 && head.every((id, place) => ids[place] === id)) {
      ids = ids.slice(head.length);
    }
    return [...head, ...ids, ...this.#tail];
  }

  decode(ids: readonly number[]): string {
    const text = this.decodeRaw(ids);
    return this.cleansUp ? cleaned(text) : text;
  }

  /** The text of ids before it is cleaned up, which is where it can be joined. */
  decodeRaw(ids: readonly number[]): string {
    const known = ids.filter((id) => this.knows(id));
    if (known.length === 0) return "";
    const decoder = this.#backend.decoder;
    if (this.byteIds.size === 0 || decoder === null) {
      return this.#backend.decode(known, { clean_up_tokenization_spaces: false });
    }
    const tokens = known.map((id) => this.#backend.id_to_token(id) ?? "");
    return decoder(shownBytes(tokens, (place) => this.byteIds.has(known[place] ?? -1)));
  }

  knows(id: number): boolean {
    return this.#backend.id_to_token(id) !== undefined;
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
    const marked = JSON.stringify([guarded.messages, guarded.options]).includes(mark);
    if (marked) {
      const plain = this.renderChat(messages, true, options);
      if (render(guarded.messages).replaceAll(mark, "") !== plain) {
        throw new EngineError(
          "artifact",
          "The chat template looks into a message's text that reads like a special token.",
          "Leave it out of the message.",
        );
      }
    }
    const pieces = aroundReplies(render, guarded.messages, replies, guarded.reply, mark);
    const ids: number[] = [];
    for (const piece of pieces) {
      if (typeof piece !== "string") ids.push(...piece);
      else if (ids.length) ids.push(...this.#encodeInside(piece, mark));
      else ids.push(...this.#encodeGuarded(piece, mark));
    }
    return ids[0] === this.#head[0] ? ids : [...this.#head, ...ids];
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
    const all = [...before, { role: "assistant", content: REPLY }, ...after];
    const { messages, mark } = guard(all, this.#special);
    const prompt = this.renderChat(messages.slice(0, before.length));
    const whole = this.renderChat(messages, after.length > 0);
    const place = whole.indexOf(REPLY);
    const tail = whole.slice(place + REPLY.length);
    if (place < 0 || whole.slice(0, place) !== prompt || tail.includes(REPLY)) return null;
    if (whole.replaceAll(mark, "") !== this.renderChat(all, after.length > 0)) return null;
    return this.#encodeInside(tail, mark);
  }

  /** Ids of a part of a chat after other text: there, SentencePiece puts no blank. */
  #encodeInside(text: string, mark: string): number[] {
    const line = this.#line;
    const ids = line.length > 0 ? this.#encodeGuarded(`\n${text}`, mark) : [];
    const follows = line.length > 0 && line.every((id, place) => ids[place] === id);
    return follows ? ids.slice(line.length) : this.#encodeGuarded(text, mark);
  }

  #encode(text: string): number[] {
    return this.#backend.encode(text, { add_special_tokens: false }).ids;
  }

  /**
   * The ids of a rendered chat; special tokens with a mark in them are text. A copy of the tokenizer
   * knows the special tokens under secret names, which are put in for those of the template.
   */
  #encodeGuarded(rendered: string, mark: string): number[] {
    const missing = Object.values(this.#names).find(
      (name) => this.#id(name) === undefined && rendered.includes(name),
    );
    if (missing !== undefined) {
      throw new EngineError(
        "artifact",
        `The chat template writes ${JSON.stringify(missing)}, which tokenizer.json does not hold.`,
      );
    }
    const normalized = this.#file["normalizer"] != null;
    const always = normalized && this.#file.added_tokens.some((t) => t.special && t.normalized);
    if (!rendered.includes(mark) && !always) return this.#encode(rendered);
    this.#renamed ??= this.#rename();
    const [backend, ids] = this.#renamed;
    const longest = [...this.#special].sort((a, b) => b.length - a.length).map(escaped);
    const pattern = new RegExp(`(?:${longest.join("|")})(?!${mark})`, "gu");
    let written = 0;
    const secret = (token: string) => {
      written++;
      return SECRET + token;
    };
    const named = longest.length > 0 ? rendered.replace(pattern, secret) : rendered;
    const found = backend.encode(named.replaceAll(mark, ""), { add_special_tokens: false }).ids;
    const unknown = this.#unknown();
    if (found.some((id) => this.specialIds.has(id) && id !== unknown)) {
      throw new EngineError(
        "artifact",
        "A message contains a special token that the tokenizer cannot read as text.",
        "Leave it out of the message.",
      );
    }
    // Otherwise the secret would be left as text.
    if (found.filter((id) => ids.has(id)).length !== written) {
      throw new EngineError(
        "artifact",
        "The tokenizer does not tell the template's special tokens from a message's text.",
        "Leave texts that look like special tokens out of the messages.",
      );
    }
    return found.map((id) => ids.get(id) ?? id);
  }

  /** The token that stands for characters that the vocabulary lacks, as in any text. */
  #unknown(): number | undefined {
    const { unk_token, unk_id } = this.#file["model"] as { unk_token?: string; unk_id?: number };
    return unk_id ?? (unk_token ? this.#id(unk_token) : undefined);
  }

  /** The copy, and the ids of special tokens by those that it has for the secret names. */
  #rename(): [Backend, Map<number, number>] {
    const added = this.#file.added_tokens;
    const vocab = Object.values((this.#file["model"] as { vocab: object }).vocab).length;
    let next = Math.max(vocab, ...added.map(({ id }) => id + 1));
    const ids = new Map<number, number>();
    const renamed = added.map((token) => {
      if (!token.special) return token;
      ids.set(next, token.id);
      return { ...token, id: next++, content: SECRET + token.content };
    });
    return [this.#open({ ...this.#file, added_tokens: renamed }), ids];
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

  #open(tokenizer: Json): Backend {
    try {
      return new Backend(tokenizer as object, this.#config as object);
    } catch (error) {
      throw new EngineError("artifact", `tokenizer.json is not a tokenizer: ${String(error)}.`);
    }
  }

  #id(token: string): number | undefined {
    return this.#backend.token_to_id(token);
  }

  /** The ids that the post-processor puts before and after a text. */
  #addedAround(): [number[], number[]] {
    const bare = this.#encode("a");
    const { ids } = this.#backend.encode("a", { add_special_tokens: true });
    const start = ids.findIndex((_, place) => bare.every((id, i) => ids[place + i] === id));
    if (start < 0) {
      throw new EngineError("artifact", "The post_processor of tokenizer.json changes the text.");
    }
    return [ids.slice(0, start), ids.slice(start + bare.length)];
  }

  /** Ids of a named token: the tokenizer's, and generation_config's. */
  #ids(name: string, generation: Json): number[] {
    const ids: number[] = [];
    const text = this.#names[name];
    const own = text === undefined ? undefined : this.#id(text);
    if (own !== undefined) ids.push(own);
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
