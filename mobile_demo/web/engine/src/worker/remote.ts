/** The engine in its worker, as the page's thread sees it. Requests wait for each other. */

import { EngineError } from "../errors.ts";
import type { Turn } from "../model/chat.ts";
import type { LoadOptions } from "../model/model.ts";
import type { Message } from "../text/chat-template.ts";
import type { Answer, AnswerOptions, ModelFacts, Reply, Request, SentOptions } from "./protocol.ts";

export interface AnswerListener {
  onPrefill?: (done: number, total: number) => void;
  onPiece?: (text: string, tokens: number, seconds: number) => void;
}

type Final = Extract<Reply, { type: "loaded" | "answer" | "done" }>;

export class RemoteEngine {
  #worker: Worker;
  #last: Promise<unknown> = Promise.resolve();

  constructor() {
    this.#worker = startWorker();
  }

  async load(
    url: string,
    { onProgress, ...options }: SentOptions & Pick<LoadOptions, "onProgress"> = {},
  ): Promise<ModelFacts & { memory: number }> {
    const absolute = new URL(url, location.href).href;
    const loaded = await this.#ask({ type: "load", url: absolute, options }, "loaded", (reply) => {
      if (reply.type === "progress") onProgress?.(reply.progress);
    });
    return { ...loaded.facts, memory: loaded.memory };
  }

  /** Begin a conversation, or go on with a saved one. */
  async start(system: string | null, turns: Turn[] = []): Promise<void> {
    await this.#ask({ type: "start", system, turns }, "done");
  }

  send(text: string, options: AnswerOptions, listener: AnswerListener = {}): Promise<Answer> {
    return this.#answer({ type: "send", text, options }, listener);
  }

  /** One prompt outside the conversation: ids, a text as it is, or messages. */
  generate(
    prompt: number[] | string | Message[],
    options: AnswerOptions,
    listener: AnswerListener = {},
  ): Promise<Answer> {
    return this.#answer({ type: "generate", prompt, options }, listener);
  }

  /** Ends the answer that is running, after the token that is being computed. */
  stop(): void {
    this.#post({ type: "stop" });
  }

  /** Drop all stored weights. */
  async forget(): Promise<void> {
    await this.#ask({ type: "forget" }, "done");
  }

  async #answer(request: Request, { onPrefill, onPiece }: AnswerListener): Promise<Answer> {
    const { answer } = await this.#ask(request, "answer", (reply) => {
      if (reply.type === "prefill") onPrefill?.(reply.done, reply.total);
      if (reply.type === "piece") onPiece?.(reply.text, reply.tokens, reply.seconds);
    });
    return answer;
  }

  #post(request: Request): void {
    this.#worker.postMessage(request);
  }

  #ask<T extends Final["type"]>(
    request: Request,
    final: T,
    onReply?: (reply: Reply) => void,
  ): Promise<Extract<Final, { type: T }>> {
    const answered = this.#last.then(
      () =>
        new Promise<Extract<Final, { type: T }>>((resolve, reject) => {
          this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => {
            if (data.type === final) resolve(data as Extract<Final, { type: T }>);
            else if (data.type === "failed") {
              const { kind, message, hint } = data.failure;
              reject(new EngineError(kind, message, hint));
            } else onReply?.(data);
          };
          this.#worker.onerror = (event) => {
            // A worker that died answers nothing.
            this.#worker.terminate();
            this.#worker = startWorker();
            const reason = event.message || "it could not be started";
            reject(
              new EngineError(
                "unsupported",
                `The engine's worker stopped: ${reason}.`,
                "Reload the page.",
              ),
            );
          };
          this.#post(request);
        }),
    );
    this.#last = answered.catch(() => undefined);
    return answered;
  }
}

function startWorker(): Worker {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "engine" });
}
