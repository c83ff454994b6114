/** Generated ids as text, as they come: whole characters only, cut at stop strings. */

import { type GenerateOptions, type GenerationResult, TokenStream } from "./generate.ts";
import type { SessionLike } from "./session.ts";
import { StopStrings } from "./stop-strings.ts";
import { StreamDecoder } from "./stream-decoder.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface TextOptions extends GenerateOptions {
  stop_strings?: readonly string[];
}

/** Pieces of valid text of one running sequence; `text` is filled as they come. */
export class TextStream implements AsyncIterable<string> {
  text = "";
  readonly tokens: TokenStream;
  readonly #decoder: StreamDecoder;
  readonly #stop: StopStrings;

  constructor(
    session: SessionLike,
    tokenizer: Tokenizer,
    ids: readonly number[],
    options: TextOptions,
    reuse = false,
  ) {
    this.#stop = new StopStrings(options.stop_strings);
    this.#decoder = new StreamDecoder(tokenizer);
    this.tokens = new TokenStream(session, ids, tokenizer.eosIds, options, reuse);
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
      const piece = this.#stop.push(this.#decoder.push(id));
      if (this.#stop.found) this.tokens.stop("stop_string");
      if (piece) yield this.#add(piece);
    }
    const rest = this.#stop.push(this.#decoder.flush()) + this.#stop.flush();
    if (rest) yield this.#add(rest);
  }

  #add(piece: string): string {
    this.text += piece;
    return piece;
  }
}
