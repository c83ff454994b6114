/** Draws that follow the distributions, which `vectors.test.ts` compares with Python's. */

import { expect, test } from "vitest";
import { Random } from "../../engine/src/sampling/random.ts";
import { Sampler } from "../../engine/src/sampling/sampling.ts";
import { kthLargest } from "../../engine/src/sampling/select.ts";
import { vectors } from "../fixtures.ts";

const logits = Float32Array.from(vectors.sampling.logits);

test("draws follow the probabilities", () => {
  const sampler = new Sampler({ do_sample: true, top_k: 0, seed: 1 });
  const few = Float32Array.from([0.1, 0.2, 0.3, 0.4], Math.log);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 20_000; i++) counts[sampler.sample(few)]!++;
  for (const [id, count] of counts.entries())
    expect(count / 20_000).toBeCloseTo((id + 1) / 10, 1.7);
});

test("random numbers lie in [0, 1), and both halves of a seed count", () => {
  const first = (seed: number) => new Random(seed).next();
  expect(first(1)).toBe(first(1));
  expect(new Set([0, 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1].map(first)).size).toBe(5);
  const random = new Random(null);
  const draws = Array.from({ length: 10_000 }, () => random.next());
  expect(draws.every((draw) => draw >= 0 && draw < 1)).toBe(true);
  expect(draws.reduce((a, b) => a + b) / draws.length).toBeCloseTo(0.5, 1);
});

test("the k-th largest, with ties", () => {
  for (const k of [1, 2, 50, 1000, 2999, 3000]) {
    expect(kthLargest(logits, k)).toBe(logits.slice().sort((a, b) => b - a)[k - 1]);
  }
  expect(kthLargest(new Float64Array(9).fill(2), 5)).toBe(2);
});

test.each([
  [{ temperature: -1 }, /temperature is -1/],
  [{ top_p: 0 }, /top_p/],
  [{ min_p: 2 }, /min_p/],
  [{ top_k: -1 }, /top_k/],
  [{ seed: 0.5 }, /seed/],
  [{ repetition_penalty: Number.NaN }, /repetition_penalty/],
])("%j is refused", (params, sentence) => {
  expect(() => new Sampler(params)).toThrow(sentence);
});

test.each([Number.NaN, Infinity])("a logit that is %d is a sentence", (value) => {
  const broken = logits.slice();
  broken[3] = value;
  expect(() => new Sampler().sample(broken)).toThrow(/the model is damaged/);
  expect(() => new Sampler({ do_sample: true }).sample(broken)).toThrow(/the model is damaged/);
});

test.each([1e-300, 1e-44, 1e-39])("a penalty of %d makes no float", (repetition_penalty) => {
  for (const do_sample of [false, true]) {
    const sampler = new Sampler({ repetition_penalty, do_sample });
    sampler.observe([0, 1]);
    expect(() => sampler.sample(Float32Array.of(3, -3, 1))).toThrow(/repetition_penalty is .* inf/);
  }
});
