/** The messages on the screen; the scroller follows the last one unless the reader has left it. */

import type { Turn } from "bitnet-onnx-engine";
import { element, make } from "./elements.ts";

const list = element("transcript", HTMLOListElement);
const scroller = element("scroller", HTMLElement);
const welcome = element("welcome", HTMLElement);
const NEAR = 80; // pixels from the end that still count as reading the end

export class Reply {
  readonly #text = make("div", { className: "text" });
  readonly #note = make("small", { className: "note" });
  readonly #item = make("li", { className: "model" }, this.#text, this.#note);

  constructor() {
    this.#item.setAttribute("aria-busy", "true");
    append("Answer", this.#item);
  }

  add(piece: string): void {
    following(() => this.#text.append(piece));
  }

  note(text: string): void {
    this.#note.textContent = text;
  }

  finish(text: string, note: string): void {
    following(() => {
      this.#text.textContent = text || "(no text)";
      this.note(note);
    });
    this.#item.removeAttribute("aria-busy");
  }

  remove(): void {
    this.#item.remove();
  }
}

/** Shows what the user said; returns a function that removes it again. */
export function showQuestion(text: string): () => void {
  welcome.hidden = true;
  const item = make("li", { className: "user", textContent: text });
  append("You", item);
  scroller.scrollTop = scroller.scrollHeight;
  return () => item.remove();
}

export function showTurns(turns: readonly Turn[]): void {
  list.replaceChildren();
  welcome.hidden = turns.length > 0;
  for (const { user, reply } of turns) {
    showQuestion(user);
    new Reply().finish(reply, "");
  }
}

function append(speaker: string, item: HTMLElement): void {
  item.prepend(make("span", { className: "unseen", textContent: `${speaker}: ` }));
  following(() => list.append(item));
}

function following(change: () => void): void {
  const { scrollHeight, scrollTop, clientHeight } = scroller;
  const atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
  change();
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}
