/** Cuts a text that comes in pieces before the stop string that is complete first. */

import { EngineError } from "../errors.ts";

/**
 * Text that may begin a stop string is held back until that is decided. Where two are complete at
 * the same character, the longer one counts.
 */
export class StopStrings {
  found = false;
  #held = "";
  readonly #strings: readonly string[];

  constructor(strings: readonly string[] = []) {
    if (strings.includes(""))
      throw new EngineError("options", "A stop string is empty, expected at least one character.");
    this.#strings = strings;
  }

  /** The text that is now certain; nothing after a stop string was found. */
  push(piece: string): string {
    if (this.found) return "";
    const text = this.#held + piece;
    const [first] = this.#strings
      .map((string) => ({ start: text.indexOf(string), length: string.length }))
      .filter(({ start }) => start >= 0)
      .sort((a, b) => a.start + a.length - (b.start + b.length) || a.start - b.start);
    if (first) {
      this.found = true;
      this.#held = "";
      return text.slice(0, first.start);
    }
    const held = Math.max(0, ...this.#strings.map((string) => overlap(text, string)));
    const cut = text.length - held;
    this.#held = text.slice(cut);
    return text.slice(0, cut);
  }

  /** What was held back: since no more comes, it is text. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }
}

/** Characters at the end of text that begin the string. */
function overlap(text: string, string: string): number {
  for (let count = Math.min(text.length, string.length - 1); count > 0; count--) {
    if (text.endsWith(string.slice(0, count))) return count;
  }
  return 0;
}
