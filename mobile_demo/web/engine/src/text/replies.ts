/**
 * Finds a model's own answers in a rendered chat, so that their ids can stay as they were chosen:
 * the rule and its proof are in `bitnet_onnx/text/replies.py`.
 */

import type { Message } from "./chat-template.ts";

export interface Reply {
  ids: readonly number[];
  /** The answer as the conversation holds it. */
  text: string;
  /** The text of the ids where they follow their prompt. */
  said: string;
}

type Render = (messages: readonly Message[]) => string;
type Span = readonly [start: number, stop: number];

/** The rendered chat in pieces: texts, and the ids of answers between them. */
export function aroundReplies(
  render: Render,
  messages: readonly Message[],
  replies: ReadonlyMap<number, Reply>,
  guarded: (text: string) => string,
  mark: string,
): (string | readonly number[])[] {
  const whole = render(messages);
  const texts = new Map(
    [...replies].filter(([, { text }]) => text).map(([place, { text }]) => [place, guarded(text)]),
  );
  const spans = [...findSpans(render, messages, texts, whole)].sort(([, a], [, b]) => a[0] - b[0]);
  const pieces: (string | readonly number[])[] = [];
  let end = 0;
  for (const [place, [first, stop]] of spans) {
    const reply = replies.get(place);
    if (!reply) continue;
    const { ids, said } = reply;
    const shown = whole.slice(first, stop).replaceAll(mark, "");
    const start = said.endsWith(shown) ? first - (said.length - shown.length) : first;
    if (start < end || whole.slice(start, stop).replaceAll(mark, "") !== said) continue;
    pieces.push(whole.slice(end, start), ids);
    end = stop;
  }
  return [...pieces, whole.slice(end)];
}

function findSpans(
  render: Render,
  messages: readonly Message[],
  texts: ReadonlyMap<number, string>,
  whole: string,
): ReadonlyMap<number, Span> {
  const all = located(render, messages, texts, whole);
  if (all || texts.size < 2) return all ?? new Map<number, Span>();
  const spans = new Map<number, Span>();
  for (const [place, text] of texts) {
    const found = located(render, messages, new Map([[place, text]]), whole);
    for (const [where, span] of found ?? []) spans.set(where, span);
  }
  return spans;
}

/** The span of each text in the chat; null where one of them is not there as it is. */
function located(
  render: Render,
  messages: readonly Message[],
  texts: ReadonlyMap<number, string>,
  whole: string,
): ReadonlyMap<number, Span> | null {
  // Trimming, quoting and a change of case leave digits whole.
  const standIn = (place: number) => `70361${String(place).padStart(9, "0")}16307`;
  const changed = messages.map((message, place) =>
    texts.has(place) ? { role: "assistant", content: standIn(place) } : message,
  );
  const spans = new Map<number, Span>();
  let rest = render(changed);
  let done = "";
  for (const [place, text] of texts) {
    const digits = standIn(place);
    const found = rest.indexOf(digits);
    if (found < 0) return null;
    const start = done.length + found;
    done += rest.slice(0, found) + text;
    rest = rest.slice(found + digits.length);
    spans.set(place, [start, done.length]);
    if (rest.includes(digits) || !whole.startsWith(done)) return null;
  }
  return done + rest === whole ? spans : null;
}
