/** Ids one by one to text: whole characters only. Knows the tokenizer, not the loop. */

import { cleaned } from "./clean-up.ts";
import type { Tokenizer } from "./tokenizer.ts";

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
  #raw = ""; // what the next pieces can still change when blanks are cleaned up

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** The text that this id completes; may be empty. */
  push(id: number): string {
    if (this.#tokenizer.hiddenIds.has(id) || !this.#tokenizer.knows(id)) return "";
    this.#window.push(id);
    if (this.#tokenizer.byteIds.has(id)) return ""; // one wrong byte changes how all are shown
    const text = this.#windowText();
    const whole = text.replace(/\ufffd+$/, "");
    const end = Math.max(whole.length, text.length - StreamDecoder.#HELD);
    const piece = text.slice(this.#emitted, end);
    this.#emitted = Math.max(this.#emitted, end);
    if (text && whole.length === text.length) {
      [this.#before, this.#window, this.#emitted] = [this.#window, [], 0];
    }
    return this.#cleaned(piece);
  }

  /** What is held at the end: bytes that no token completed. */
  flush(): string {
    const piece = this.#windowText().slice(this.#emitted);
    [this.#before, this.#window, this.#emitted] = [[], [], 0];
    return this.#cleaned(piece, true);
  }

  #windowText(): string {
    const both = this.#tokenizer.decodeRaw([...this.#before, ...this.#window]);
    return both.slice(this.#tokenizer.decodeRaw(this.#before).length);
  }

  #cleaned(piece: string, last = false): string {
    if (!this.#tokenizer.cleansUp) return piece;
    const raw = this.#raw + piece;
    // No blank of these can be cleaned up together with a letter outside them.
    const kept = last ? raw.length : raw.replace(/[ .?!,'ntmsver]+$/, "").length;
    this.#raw = raw.slice(kept);
    return cleaned(raw.slice(0, kept));
  }
}
