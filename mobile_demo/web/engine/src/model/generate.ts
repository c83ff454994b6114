/**
 * The loop: a prompt of ids in, chosen ids out, one at a time. Knows neither text nor ONNX.
 * It counts and ends as in `bitnet_onnx/generation/`.
 */

import { EngineError } from "../errors.ts";
import { Sampler, type SamplingParams } from "../sampling/sampling.ts";
import type { PrefillProgress, SessionLike } from "./session.ts";

/** "aborted" by the user; "length" also where the context is full. */
export type FinishReason = "stop" | "length" | "stop_string" | "aborted";

export interface GenerateOptions extends Partial<SamplingParams> {
  /** The largest number of new ids; undefined: as many as max_length leaves, or 256. */
  max_new_tokens?: number | undefined;
  /** The largest number of ids with the prompt; max_new_tokens takes precedence. */
  max_length?: number | undefined;
  /** The ids that end an answer; undefined: the tokenizer's. */
  eos_token_id?: readonly number[] | undefined;
  onPrefill?: PrefillProgress;
}

/** `ids` are the new ones, including the eos that ended them. */
export interface GenerationResult {
  promptTokens: number;
  cachedTokens: number; // of the prompt, found in the cache and not computed again
  ids: number[];
  finishReason: FinishReason | null;
  prefillSeconds: number; // to the first new id
  decodeSeconds: number; // from the first new id to the last
}

export class TokenStream implements AsyncIterable<number> {
  readonly result: GenerationResult;
  readonly #session: SessionLike;
  readonly #prompt: readonly number[];
  readonly #eos: ReadonlySet<number>;
  readonly #options: GenerateOptions;
  readonly #limit: number;
  readonly #sampler: Sampler;
  readonly #reuse: boolean;

  /** reuse: what the session's cache shares with the prompt is not computed again. */
  constructor(
    session: SessionLike,
    prompt: readonly number[],
    eos: ReadonlySet<number>,
    options: GenerateOptions,
    reuse = false,
  ) {
    checkPrompt(session, prompt);
    this.#limit = limit(options, prompt.length);
    this.#session = session;
    this.#prompt = prompt;
    this.#eos = eos;
    this.#options = options;
    this.#reuse = reuse;
    this.#sampler = new Sampler(options);
    this.#sampler.observe(prompt);
    this.result = {
      promptTokens: prompt.length,
      cachedTokens: 0,
      ids: [],
      finishReason: null,
      prefillSeconds: 0,
      decodeSeconds: 0,
    };
  }

  /** Ends the sequence after the id that came last; an eos stays an eos. */
  stop(reason: "stop_string" | "aborted"): void {
    if (this.result.finishReason !== "stop") this.result.finishReason = reason;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<number> {
    const { result } = this;
    let start = performance.now();
    result.cachedTokens = this.#common();
    this.#session.truncate(result.cachedTokens);
    let logits = await this.#feed(this.#prompt.slice(result.cachedTokens));
    if (result.finishReason) return;
    let id = this.#take(logits);
    result.prefillSeconds = (performance.now() - start) / 1000;
    yield id;
    while (!result.finishReason) {
      start = performance.now();
      logits = await this.#feed([id]);
      id = this.#take(logits);
      result.decodeSeconds += (performance.now() - start) / 1000;
      yield id;
    }
  }

  #feed(ids: readonly number[]): Promise<Float32Array> {
    const { onPrefill } = this.#options;
    return this.#session.feed(ids, onPrefill, () => this.result.finishReason !== null);
  }

  #take(logits: Float32Array): number {
    const { result } = this;
    const id = this.#sampler.sample(logits);
    result.ids.push(id);
    // The last id of a full context needs no position of its own.
    const full = this.#session.ids.length >= this.#session.contextLength;
    if (this.#eos.has(id)) result.finishReason = "stop";
    else if (full || result.ids.length === this.#limit) result.finishReason = "length";
    return id;
  }

  /** Positions at the start of the cache that this prompt takes over. */
  #common(): number {
    if (!this.#reuse) return 0;
    // At least one id must be computed: the cache holds no logits.
    const most = this.#prompt.length - 1;
    const { ids } = this.#session;
    let common = 0;
    while (common < most && ids[common] === this.#prompt[common]) common++;
    return common;
  }
}

/** The largest number of new ids, as transformers counts it. */
function limit({ max_new_tokens, max_length }: GenerateOptions, prompt: number): number {
  const name = max_new_tokens === undefined ? "max_length" : "max_new_tokens";
  const most = max_new_tokens ?? max_length;
  if (most === undefined) return 256;
  if (!Number.isSafeInteger(most) || most < 1)
    throw new EngineError("options", `${name} is ${most}, expected at least 1.`);
  if (max_new_tokens !== undefined) return most;
  if (prompt < most) return most - prompt;
  throw new EngineError(
    "prompt",
    `The message makes a prompt of ${prompt} tokens, expected fewer than max_length ${most}.`,
    "Shorten the message, or set the largest number of new tokens.",
  );
}

function checkPrompt(session: SessionLike, prompt: readonly number[]): void {
  if (prompt.length === 0)
    throw new EngineError("prompt", "The prompt has no tokens, expected at least one.");
  const wrong = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= session.vocabSize);
  if (wrong !== undefined) {
    throw new EngineError(
      "artifact",
      `The prompt holds the id ${wrong}, expected 0 to ${session.vocabSize - 1}.`,
    );
  }
  if (prompt.length > session.contextLength) {
    throw new EngineError(
      "prompt",
      `The message makes a prompt of ${prompt.length} tokens, expected at most the context of ${session.contextLength}.`,
      "Shorten the message.",
    );
  }
}
