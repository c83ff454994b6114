/** The whole engine under Node, on onnxruntime-web's WASM: the same ids as Python. */

import * as ort from "onnxruntime-web";
import { beforeAll, expect, test } from "vitest";
import { openArtifact } from "../../engine/src/artifact/artifact.ts";
import { MemoryStore } from "../../engine/src/artifact/store.ts";
import { EngineError } from "../../engine/src/errors.ts";
import { Chat } from "../../engine/src/model/chat.ts";
import type { Model } from "../../engine/src/model/model.ts";
import type { Ort } from "../../engine/src/model/runtime.ts";
import { Session } from "../../engine/src/model/session.ts";
import { TextStream } from "../../engine/src/model/text.ts";
import { cases, vectors, version1 } from "../fixtures.ts";
import { FolderServer, openModel } from "./folder-server.ts";

const LIMIT = { max_new_tokens: 32 };
let model: Model;
let session: Session;

beforeAll(async () => {
  ({ model, session } = await openModel());
});

test("answers held-out questions with Python's ids", async () => {
  // A few of them: Chromium is asked all.
  for (const { question, prompt, ids, text } of cases.questions.slice(0, 10)) {
    const stream = model.generate([{ role: "user", content: question }], LIMIT);
    const pieces: string[] = [];
    for await (const piece of stream) pieces.push(piece);
    expect(stream.result.ids, question).toEqual(ids);
    expect(stream.result.promptTokens).toBe(prompt.length);
    expect(pieces.join("")).toBe(text);
  }
});

test("a model of version 1 of the format gives the same ids", async () => {
  const { fetch } = new FolderServer(version1());
  const { manifest, files } = await openArtifact("http://old/", {
    store: new MemoryStore(),
    fetch,
  });
  const old = await Session.create(ort as Ort, manifest, files);
  const { prompt, ids } = cases.questions[0]!;
  const stream = new TextStream(old, model.tokenizer, prompt, LIMIT);
  for await (const _ of stream);
  expect(stream.result.ids).toEqual(ids);
  await old.release();
});

test("a conversation takes nothing from the cache of what was asked in between", async () => {
  const chat = model.chat();
  const send = async ({ text }: { text: string }) => {
    const stream = chat.send(text, LIMIT);
    for await (const _ of stream);
    return stream.answer.result;
  };
  const [first, second] = vectors.conversation;
  await send(first!);
  // Other ids, as many as the chat left behind.
  const prompt = session.ids.map((id) => (id + 1) % 800);
  for await (const _ of model.generate(prompt, { max_new_tokens: 1 }));
  const { ids, cachedTokens } = await send(second!);
  expect({ ids, cachedTokens }).toEqual({ ids: second!.ids, cachedTokens: 0 });
});

test("a conversation that was saved goes on", async () => {
  const [first, second] = vectors.conversation;
  const turns = [{ user: first!.text, reply: "ignored", replyIds: first!.ids.slice(0, -1) }];
  const chat = model.chat();
  chat.start(null, turns);
  const stream = chat.send(second!.text, LIMIT);
  for await (const _ of stream);
  expect(stream.answer.result.ids).toEqual(second!.ids);
});

test("a prompt in several chunks gives the logits of one by one", async () => {
  const ids = Array.from({ length: 200 }, (_, place) => (place * 31) % 800);
  session.truncate(0);
  const seen: number[] = [];
  const whole = (await session.feed(ids, (done) => seen.push(done))).slice();
  expect(seen).toEqual([0, 64, 128, 192]);
  session.truncate(0);
  let last = new Float32Array();
  for (const id of ids) last = (await session.feed([id])).slice();
  for (const [place, logit] of whole.entries())
    expect(Math.abs(last[place]! - logit)).toBeLessThan(1e-3);
});

test("breaking off keeps what was said, and the chat goes on", async () => {
  const chat = model.chat();
  const stream = chat.send("Spell the word PLANT.", LIMIT);
  for await (const _ of stream) stream.answer.abort();
  expect(stream.answer.result).toMatchObject({ finishReason: "aborted" });
  expect(chat.turns).toHaveLength(1);
  const next = chat.send("What is 27 + 5?", LIMIT);
  for await (const _ of next);
  expect(next.answer.result.cachedTokens).toBeGreaterThan(10);
});

test("the same seed gives the same ids, another seed others", async () => {
  const draw = async (seed: number) => {
    const sampled = { ...LIMIT, do_sample: true, temperature: 3, top_k: 0, seed };
    const stream = model.generate("What", sampled);
    for await (const _ of stream);
    return stream.result.ids;
  };
  expect(await draw(7)).toEqual(await draw(7));
  expect(await draw(7)).not.toEqual(await draw(8));
});

test("a message that the context cannot hold is refused and changes nothing", () => {
  const chat = new Chat(session, model.tokenizer);
  const before = session.ids.length;
  expect(() => chat.send("1 ".repeat(600), LIMIT)).toThrow(EngineError);
  expect(() => chat.send("1 ".repeat(600), LIMIT)).toThrow(/context of 512/);
  expect([chat.turns.length, session.ids.length]).toEqual([0, before]);
});

test("a context that fills up ends the answer", async () => {
  const prompt = Array.from({ length: 510 }, (_, place) => (place % 800) + 4);
  const stream = model.generate(prompt, {
    max_new_tokens: 100,
    top_k: 0,
    do_sample: true,
    seed: 3,
  });
  for await (const _ of stream);
  expect(stream.result.ids.length).toBeLessThanOrEqual(3);
  expect(["length", "stop"]).toContain(stream.result.finishReason);
});
