/** Generated ids as text, as they come: whole characters only, cut at stop strings. */

import { StopStrings } from "../text/stop-strings.ts";
import { StreamDecoder } from "../text/stream-decoder.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type GenerateOptions, type GenerationResult, TokenStream } from "./generate.ts";
import type { SessionLike } from "./session.ts";

export interface TextOptions extends GenerateOptions {
  stop_strings?: readonly string[];
}

/**
 * Pieces of valid text of one running sequence; `text` is filled as they come. Stop strings are
 * looked for in the text with special tokens, which is not shown.
 */
export class TextStream implements AsyncIterable<string> {
  text = "";
  readonly tokens: TokenStream;
  readonly #decoder: StreamDecoder;
  readonly #stop: StopStrings;
  readonly #tokenizer: Tokenizer;
  readonly #waiting: { text: string; shown: boolean }[] = [];

  constructor(
    session: SessionLike,
    tokenizer: Tokenizer,
    ids: readonly number[],
    options: TextOptions,
    reuse = false,
  ) {
    this.#stop = new StopStrings(options.stop_strings);
    this.#decoder = new StreamDecoder(tokenizer);
    this.#tokenizer = tokenizer;
    const eos = new Set(options.eos_token_id ?? tokenizer.eosIds);
    this.tokens = new TokenStream(session, ids, eos, options, reuse);
  }

  get result(): GenerationResult {
    return this.tokens.result;
  }

  /** Ends the answer after the token that is being computed. */
  abort(): void {
    this.tokens.stop("aborted");
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for await (const id of this.tokens) {
      const piece = this.#pushed(id);
      if (this.#stop.found) this.tokens.stop("stop_string");
      if (piece) yield this.#add(piece);
    }
    const rest =
      this.#certain(this.#decoder.flush(), true) + this.#taken(this.#stop.flush().length);
    if (rest) yield this.#add(rest);
  }

  #pushed(id: number): string {
    if (!this.#tokenizer.hiddenIds.has(id)) return this.#certain(this.#decoder.push(id), true);
    return this.#certain(this.#tokenizer.decode([id]), false);
  }

  /** What is visible of the text that is now certain. */
  #certain(text: string, shown: boolean): string {
    this.#waiting.push({ text, shown });
    return this.#taken(this.#stop.push(text).length);
  }

  #taken(count: number): string {
    let visible = "";
    for (let rest = count; rest > 0; ) {
      const [first] = this.#waiting;
      if (!first) break;
      const part = first.text.slice(0, rest);
      if (first.shown) visible += part;
      first.text = first.text.slice(part.length);
      if (!first.text) this.#waiting.shift();
      rest -= part.length;
    }
    return visible;
  }

  #add(piece: string): string {
    this.text += piece;
    return piece;
  }
}
