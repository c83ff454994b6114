/**
 * generation_config.json: the options that the model's makers want, as transformers reads it. What
 * would change an answer and is not done here is refused by name, as in `bitnet_onnx/generation/`.
 */

import { EngineError } from "../errors.ts";
import { checkedParams } from "../sampling/sampling.ts";
import type { GenerateOptions } from "./generate.ts";

/** What the file says; a caller's options go before it. */
export type Defaults = Omit<Partial<GenerateOptions>, "onPrefill" | "seed"> & {
  stop_strings?: readonly string[];
};

const NAME = "generation_config.json";
const OPTIONS = [
  "do_sample",
  "temperature",
  "top_k",
  "top_p",
  "min_p",
  "repetition_penalty",
] as const;
const LENGTHS = ["max_new_tokens", "max_length"] as const;

/** Fields that change the answer, with the values that turn them off. */
const REFUSED: Readonly<Record<string, readonly unknown[]>> = {
  bad_words_ids: [],
  begin_suppress_tokens: [],
  // transformers' names of a cache that grows, which is the one here.
  cache_implementation: ["dynamic", "dynamic_full", "hybrid"],
  constraints: [],
  dola_layers: [],
  encoder_no_repeat_ngram_size: [0],
  encoder_repetition_penalty: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
  exponential_decay_length_penalty: [],
  force_bos_token_to_be_generated: [false],
  force_words_ids: [],
  forced_bos_token_id: [],
  forced_eos_token_id: [],
  frequency_penalty: [0],
  guidance_scale: [1],
  max_time: [],
  min_length: [0],
  min_new_tokens: [0],
  negative_prompt: [],
  negative_prompt_ids: [],
  no_repeat_ngram_size: [0],
  num_beam_groups: [1],
  num_beams: [1],
  num_return_sequences: [1],
  penalty_alpha: [0],
  presence_penalty: [0],
  remove_invalid_values: [false],
  sequence_bias: [],
  structured_outputs: [],
  suppress_tokens: [],
  token_healing: [false],
  top_h: [],
  typical_p: [1],
  watermarking_config: [],
};

/** The options of an artifact's file; none where there is no file. */
export function readGenerationConfig(files: ReadonlyMap<string, Uint8Array>): Defaults {
  const bytes = files.get(NAME);
  if (!bytes) return {};
  try {
    return parseGenerationConfig(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw new EngineError("artifact", `The model's ${NAME} is not JSON: ${String(error)}.`);
  }
}

export function parseGenerationConfig(values: unknown): Defaults {
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new EngineError("artifact", `The model's ${NAME} is not an object.`);
  }
  const given = new Map(Object.entries(values).filter(([, value]) => value !== null));
  for (const [name, off] of Object.entries(REFUSED)) {
    const value = given.get(name);
    if (value !== undefined && !off.includes(value)) refuse(name, value, "a file without it");
  }
  const taken = (names: readonly string[]) =>
    Object.fromEntries(names.filter((name) => given.has(name)).map((n) => [n, given.get(n)]));
  const sampling = taken(OPTIONS);
  if (typeof (sampling["do_sample"] ?? false) !== "boolean") {
    refuse("do_sample", sampling["do_sample"], "true or false");
  }
  checkedParams(sampling);
  const lengths = taken(LENGTHS);
  for (const [name, value] of Object.entries(lengths)) {
    if (!isCount(value) || value < 1) refuse(name, value, "an integer of at least 1");
  }
  return { ...sampling, ...lengths, ...ending(given) };
}

function ending(given: ReadonlyMap<string, unknown>): Defaults {
  const found: Defaults = {};
  if (given.has("eos_token_id")) {
    const ids = [given.get("eos_token_id")].flat();
    if (!ids.every(isCount)) refuse("eos_token_id", ids, "an id or a list of ids");
    found.eos_token_id = ids as number[];
  }
  if (given.has("stop_strings")) {
    const strings = [given.get("stop_strings")].flat();
    if (!strings.every((string) => typeof string === "string" && string !== "")) {
      refuse("stop_strings", strings, "texts that are not empty");
    }
    found.stop_strings = strings as string[];
  }
  return found;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function refuse(name: string, value: unknown, expected: string): never {
  throw new EngineError(
    "artifact",
    `The model's ${NAME} says ${name} ${JSON.stringify(value)}, expected ${expected}.`,
    "Change the file of the checkpoint and export it again.",
  );
}
