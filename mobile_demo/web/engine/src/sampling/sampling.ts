// biome-ignore-all lint/style/noNonNullAssertion: indices stay inside the arrays
/**
 * Logits to one id: greedy or sampled. The steps, their order and the names are those of
 * transformers, as in `bitnet_onnx/generation/`.
 */

import { EngineError } from "../errors.ts";
import { Random } from "./random.ts";
import { argmax, kthLargest } from "./select.ts";

/**
 * Without do_sample, or with a temperature of 0, only repetition_penalty has an effect. seed null
 * draws a fresh one.
 */
export interface SamplingParams {
  do_sample: boolean;
  temperature: number;
  top_k: number; // 0 turns it off
  top_p: number; // 1 turns it off
  min_p: number; // 0 turns it off
  repetition_penalty: number; // 1 turns it off
  seed: number | null;
}

export const GREEDY: Readonly<SamplingParams> = {
  do_sample: false,
  temperature: 1,
  top_k: 50,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  seed: null,
};

export interface Distribution {
  ids: Int32Array;
  probabilities: Float64Array;
}

export function checkedParams(given: Partial<SamplingParams>): SamplingParams {
  const params = { ...GREEDY, ...given };
  const rule = (name: keyof SamplingParams, ok: boolean, expected: string) => {
    if (!ok) throw new EngineError("options", `${name} is ${params[name]}, expected ${expected}.`);
  };
  const { temperature, top_k, top_p, min_p, repetition_penalty, seed } = params;
  rule("temperature", Number.isFinite(temperature) && temperature >= 0, "a number of at least 0");
  rule(
    "repetition_penalty",
    Number.isFinite(repetition_penalty) && repetition_penalty > 0,
    "a number above 0",
  );
  rule("top_p", top_p > 0 && top_p <= 1, "above 0 and at most 1");
  rule("min_p", min_p >= 0 && min_p <= 1, "between 0 and 1");
  rule("top_k", Number.isSafeInteger(top_k) && top_k >= 0, "an integer (0 turns it off)");
  rule("seed", seed === null || (Number.isSafeInteger(seed) && seed >= 0), "an integer or empty");
  return params;
}

/** Chooses the ids of one sequence; it remembers them for the repetition penalty. */
export class Sampler {
  readonly #params: SamplingParams;
  readonly #seen = new Set<number>();
  readonly #random: Random;

  constructor(params: Partial<SamplingParams> = {}) {
    this.#params = checkedParams(params);
    this.#random = new Random(this.#params.seed);
  }

  /** Counts ids that were not sampled here (the prompt) as already said. */
  observe(ids: Iterable<number>): void {
    if (this.#params.repetition_penalty === 1) return;
    for (const id of ids) this.#seen.add(id);
  }

  sample(logits: Float32Array): number {
    const { do_sample, temperature } = this.#params;
    const id = do_sample && temperature > 0 ? this.#draw(logits) : this.#largest(logits);
    this.observe([id]);
    return id;
  }

  /** The ids that can be drawn, in increasing order, and their probabilities. */
  distribution(raw: Float32Array): Distribution {
    const { temperature, top_k, top_p, min_p } = this.#params;
    const logits = this.#penalized(raw);
    const highest = checkedFinite(logits[argmax(logits)]!);
    // Ties with the k-th value are kept. Dividing by a temperature changes no order.
    const least = top_k > 0 && top_k < logits.length ? kthLargest(logits, top_k) : -Infinity;
    let ids = Int32Array.from(logits.keys()).filter((id) => logits[id]! >= least);
    let weights = Float64Array.from(ids, (id) => Math.exp((logits[id]! - highest) / temperature));
    if (top_p < 1) [ids, weights] = nucleus(ids, weights, top_p);
    if (min_p > 0) {
      const floor = min_p * weights.reduce((a, b) => Math.max(a, b));
      [ids, weights] = kept(ids, weights, (weight) => weight >= floor);
    }
    const total = sum(weights);
    return { ids, probabilities: weights.map((weight) => weight / total) };
  }

  #largest(raw: Float32Array): number {
    const logits = this.#penalized(raw);
    const id = argmax(logits);
    checkedFinite(logits[id]!);
    return id;
  }

  #draw(logits: Float32Array): number {
    const { ids, probabilities } = this.distribution(logits);
    // Scaling by the sum makes the draw fall inside, whatever the rounding.
    const target = this.#random.next() * sum(probabilities);
    let cumulative = 0;
    for (const [place, probability] of probabilities.entries()) {
      cumulative += probability;
      if (cumulative > target) return ids[place]!;
    }
    return ids.at(-1)!;
  }

  /** In float32, as Python computes it. */
  #penalized(logits: Float32Array): Float32Array {
    if (this.#seen.size === 0) return logits;
    const penalty = Math.fround(this.#params.repetition_penalty);
    const changed = logits.slice();
    for (const id of this.#seen) {
      const said = changed[id]!;
      changed[id] = said < 0 ? said * penalty : said / penalty;
      // Minus infinity is an id that is never chosen.
      if (Number.isFinite(said) && !(changed[id]! < Number.POSITIVE_INFINITY)) {
        throw new EngineError(
          "options",
          `repetition_penalty is ${this.#params.repetition_penalty}, which makes a logit of ${said} infinite, expected a number nearer to 1.`,
        );
      }
    }
    return changed;
  }
}

/** The fewest of the likeliest ids that reach top_p; of equal ones, the lower id. */
function nucleus(
  ids: Int32Array,
  weights: Float64Array,
  top_p: number,
): [Int32Array<ArrayBuffer>, Float64Array<ArrayBuffer>] {
  const limit = top_p * sum(weights);
  // Sorting the likeliest few is enough unless the distribution is very flat.
  for (let count = Math.min(1024, weights.length); ; count = Math.min(count * 8, weights.length)) {
    const least = kthLargest(weights, count);
    const order = Int32Array.from(weights.keys()).filter((place) => weights[place]! >= least);
    order.sort((a, b) => weights[b]! - weights[a]! || a - b);
    let [size, reached] = [0, 0];
    do reached += weights[order[size++]!]!;
    while (reached < limit && size < order.length);
    if (reached >= limit || order.length === weights.length) {
      const places = order.subarray(0, size).sort();
      return [
        places.map((place) => ids[place]!),
        Float64Array.from(places, (place) => weights[place]!),
      ];
    }
  }
}

function kept(
  ids: Int32Array<ArrayBuffer>,
  weights: Float64Array<ArrayBuffer>,
  keep: (weight: number) => boolean,
): [Int32Array<ArrayBuffer>, Float64Array<ArrayBuffer>] {
  return [ids.filter((_, place) => keep(weights[place]!)), weights.filter(keep)];
}

function sum(values: Float64Array): number {
  return values.reduce((a, b) => a + b, 0);
}

function checkedFinite(highest: number): number {
  if (Number.isFinite(highest)) return highest;
  throw new EngineError(
    "corrupt",
    `The highest logit is ${highest}, so no token can be chosen; the model is damaged.`,
    "Download the model again.",
  );
}
