/**
 * A conversation that keeps its cache between turns, as in `bitnet_onnx/generation/`. Replies stay
 * the ids that the model chose: encoding their text again can give other ids.
 */

import { EngineError } from "../errors.ts";
import type { Message } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { SessionLike } from "./session.ts";
import { type TextOptions, TextStream } from "./text.ts";

/** `replyIds` leave out the eos that ended them. */
export interface Turn {
  user: string;
  reply: string;
  replyIds: number[];
  /** The text of `replyIds` after their prompt, where it is known and not `reply`. */
  said?: string;
}

export class Chat {
  turns: Turn[] = [];
  /** Turns that the last message pushed out of the context. */
  forgotten = 0;
  readonly #session: SessionLike;
  readonly #tokenizer: Tokenizer;
  readonly #defaults: TextOptions;
  #system: Message[] = [];

  /** defaults: the options that a message does not name. */
  constructor(session: SessionLike, tokenizer: Tokenizer, defaults: TextOptions = {}) {
    this.#defaults = defaults;
    this.#session = session;
    this.#tokenizer = tokenizer;
  }

  /** Start a conversation, or go on with a saved one; the cache keeps what both share. */
  start(system: string | null, turns: Turn[] = []): void {
    this.#system = system === null ? [] : [{ role: "system", content: system }];
    this.turns = turns;
    this.forgotten = 0;
  }

  /** The answer as a stream. A message that the context cannot hold changes nothing. */
  send(text: string, given: TextOptions): ChatStream {
    const options = { ...this.#defaults, ...given };
    const [turns, prompt] = this.#fit(text);
    const answer = new TextStream(this.#session, this.#tokenizer, prompt, options, true);
    this.forgotten = this.turns.length - turns.length;
    this.turns = turns;
    return new ChatStream(answer, () => {
      const { ids, finishReason } = answer.result;
      const replyIds = finishReason === "stop" ? ids.slice(0, -1) : ids;
      if (!ids.length) return;
      const said = this.#tokenizer.decodeAfter(prompt, replyIds);
      this.turns = [...this.turns, { user: text, reply: answer.text, replyIds, said }];
    });
  }

  /** The turns to keep, and the ids of the prompt that leaves room for an answer. */
  #fit(text: string): [Turn[], number[]] {
    const context = this.#session.contextLength;
    let turns = this.turns;
    let ids = this.#encode(turns, text);
    if (turns.length && ids.length + Math.floor(context / 4) > context) {
      [turns, ids] = this.#newest(text, Math.floor(context / 2));
    }
    if (ids.length <= context) return [turns, ids];
    throw new EngineError(
      "prompt",
      `The message makes a prompt of ${ids.length} tokens, expected at most the context of ${context}.`,
      "Shorten the message or the system prompt.",
    );
  }

  /**
   * Leave out as few turns as make it at most so many ids, and all where none do: half the context
   * at once, since what is left is computed again. Halving asks for few encodings.
   */
  #newest(text: string, most: number): [Turn[], number[]] {
    let tooLong = 0;
    let first = this.turns.length;
    let ids = this.#encode([], text);
    while (first - tooLong > 1 && ids.length <= most) {
      const middle = Math.floor((tooLong + first) / 2);
      const found = this.#encode(this.turns.slice(middle), text);
      if (found.length > most) tooLong = middle;
      else [first, ids] = [middle, found];
    }
    return [this.turns.slice(first), ids];
  }

  #encode(turns: readonly Turn[], text: string): number[] {
    const start = this.#system.length;
    const replies = new Map(
      turns.map(({ reply, replyIds, said }, index) => [
        start + 2 * index + 1,
        { ids: replyIds, text: reply, said: said ?? reply },
      ]),
    );
    const messages = [...this.#messages(turns), { role: "user", content: text }];
    return this.#tokenizer.encodeChat(messages, replies);
  }

  #messages(turns: readonly Turn[]): Message[] {
    const said = turns.flatMap(({ user, reply }): Message[] => [
      { role: "user", content: user },
      { role: "assistant", content: reply },
    ]);
    return [...this.#system, ...said];
  }
}

/** A TextStream that adds what was said to the chat, however it ends. */
export class ChatStream implements AsyncIterable<string> {
  readonly answer: TextStream;
  readonly #settle: () => void;

  constructor(answer: TextStream, settle: () => void) {
    this.answer = answer;
    this.#settle = settle;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    try {
      yield* this.answer;
    } finally {
      this.#settle();
    }
  }
}
