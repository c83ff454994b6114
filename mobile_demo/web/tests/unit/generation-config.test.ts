/** generation_config.json gives the ids of Python, or is refused where Python refuses it. */

import * as ort from "onnxruntime-web";
import { beforeAll, expect, test } from "vitest";
import { openArtifact } from "../../engine/src/artifact/artifact.ts";
import { MemoryStore } from "../../engine/src/artifact/store.ts";
import {
  parseGenerationConfig,
  readGenerationConfig,
} from "../../engine/src/model/generation-config.ts";
import { Model } from "../../engine/src/model/model.ts";
import type { Ort } from "../../engine/src/model/runtime.ts";
import { Session } from "../../engine/src/model/session.ts";
import { Tokenizer } from "../../engine/src/text/tokenizer.ts";
import { cases } from "../fixtures.ts";
import { FolderServer } from "./folder-server.ts";

let modelWith: (values: unknown) => Model;

beforeAll(async () => {
  ort.env.wasm.numThreads = 1;
  const { fetch } = new FolderServer();
  const artifact = await openArtifact("http://here/", { store: new MemoryStore(), fetch });
  const tokenizer = new Tokenizer(artifact.files);
  const session = await Session.create(ort as Ort, artifact.manifest, artifact.files);
  modelWith = (values) => {
    const files = new Map(artifact.files);
    files.set("generation_config.json", new TextEncoder().encode(JSON.stringify(values)));
    return new Model({ ...artifact, files }, tokenizer, session, 1);
  };
});

test.each(cases.generation)("the ids of $values", async ({ values, refused, ...expected }) => {
  if (refused) {
    expect(() => modelWith(values)).toThrow(refused);
    return;
  }
  const stream = modelWith(values).generate(expected.prompt, {});
  for await (const _ of stream);
  expect(stream.result.ids).toEqual(expected.ids);
  expect(stream.result.finishReason).toBe(expected.reason);
});

test("options go before the file, in a chat too", async () => {
  const model = modelWith({ eos_token_id: 299, max_new_tokens: 3, do_sample: true });
  const { prompt, ids } = cases.generation[0]!;
  const options = { do_sample: false, max_new_tokens: 99 };
  const stream = model.generate(prompt, { ...options, eos_token_id: [...model.tokenizer.eosIds] });
  for await (const _ of stream);
  expect(stream.result.ids).toEqual(ids);
  const answer = model.chat().send("Spell the word STONE.", options);
  for await (const _ of answer);
  expect(answer.answer.result.ids).toEqual(ids);
  const short = model.chat().send("Spell the word STONE.", { do_sample: false });
  for await (const _ of short);
  expect(short.answer.result.ids).toEqual(ids.slice(0, 3));
});

test("a stop string may be the text of a special token", async () => {
  const { prompt, stop, text, ids } = cases.special;
  const stream = modelWith({}).generate(prompt, { eos_token_id: [], stop_strings: [stop] });
  for await (const _ of stream);
  expect(stream.result.ids).toEqual(ids);
  expect(stream.text).toBe(text);
  expect(stream.result.finishReason).toBe("stop_string");
});

test("what only Python does is refused by name", () => {
  for (const [name, value] of Object.entries({
    no_repeat_ngram_size: 2,
    bad_words_ids: [[3]],
    suppress_tokens: [1],
    min_new_tokens: 3,
    typical_p: 0.5,
    forced_eos_token_id: 2,
    guidance_scale: 1.5,
    num_return_sequences: 2,
    cache_implementation: "static",
    structured_outputs: { regex: "a" },
    negative_prompt: "a",
    negative_prompt_ids: [1],
    presence_penalty: 0.5,
    frequency_penalty: -1,
    watermarking_config: {},
  })) {
    expect(() => parseGenerationConfig({ [name]: value })).toThrow(`says ${name} `);
    expect(parseGenerationConfig({ [name]: null })).toEqual({});
  }
});

test("a damaged file is a sentence", () => {
  const file = (text: string) =>
    new Map([["generation_config.json", new TextEncoder().encode(text)]]);
  expect(() => readGenerationConfig(file("{"))).toThrow(/generation_config.json is not JSON/);
  expect(() => readGenerationConfig(file("[]"))).toThrow(/is not an object/);
  expect(readGenerationConfig(new Map())).toEqual({});
});
