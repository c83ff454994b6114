/**
 * `mobile_demo/vectors`: what Python, C++ and this engine must all compute. A kind without a row in
 * REPLAYS fails.
 */

import { expect, test } from "vitest";
import { Sampler } from "../../engine/src/sampling/sampling.ts";
import { StopStrings } from "../../engine/src/text/stop-strings.ts";
import { StreamDecoder } from "../../engine/src/text/stream-decoder.ts";
import { Tokenizer } from "../../engine/src/text/tokenizer.ts";
import { artifactFiles, type Vectors, vectors } from "../fixtures.ts";
import { chatFile, idsOf } from "./chat-file.ts";
import { openModel } from "./folder-server.ts";

type Replays = { [Kind in keyof Vectors]: (found: Vectors[Kind]) => void | Promise<void> };

const LIMIT = { max_new_tokens: 32 };
const tokenizer = new Tokenizer(artifactFiles());

const REPLAYS: Replays = {
  texts(found) {
    for (const { text, ids, decoded } of found) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
  },

  streams(found) {
    for (const { ids, pieces } of found) {
      const decoder = new StreamDecoder(tokenizer);
      expect([...ids.map((id) => decoder.push(id)), decoder.flush()]).toEqual(pieces);
    }
  },

  stops(found) {
    for (const { strings, pieces, shown } of found) {
      const stop = new StopStrings(strings);
      const seen = [...pieces.map((piece) => stop.push(piece)), stop.flush()];
      expect(seen, String(strings)).toEqual(shown);
    }
  },

  chats(found) {
    for (const { messages, ids, after, after_ids } of found) {
      expect(tokenizer.encodeChat(messages), String(messages[1]?.content)).toEqual(ids);
      expect(tokenizer.encodeAfterReply(messages, after)).toEqual(after_ids);
    }
  },

  turns(found) {
    for (const { messages, ids } of found) expect(tokenizer.encodeChat(messages)).toEqual(ids);
  },

  async conversation(found) {
    const { model } = await openModel();
    const chat = model.chat();
    for (const turn of found) {
      const stream = chat.send(turn.text, LIMIT);
      for await (const _ of stream);
      const { ids, promptTokens, cachedTokens } = stream.answer.result;
      expect(ids, turn.text).toEqual(turn.ids);
      expect({ promptTokens, cachedTokens, kept: chat.turns.length }).toEqual({
        promptTokens: turn.prompt_tokens,
        cachedTokens: turn.cached_tokens,
        kept: turn.kept,
      });
    }
    await model.release();
  },

  async stopped({ prompt, stop, text, ids }) {
    const { model } = await openModel();
    const stream = model.generate(prompt, { ...LIMIT, stop_strings: [stop] });
    for await (const _ of stream);
    expect(stream.text).toBe(text);
    expect(stream.result).toMatchObject({ ids, finishReason: "stop_string" });
    await model.release();
  },

  sampling({ logits, said, cases, greedy }) {
    const raw = Float32Array.from(logits);
    for (const { params, ids, p } of cases) {
      const sampler = new Sampler({ do_sample: true, ...params });
      sampler.observe(said);
      const found = sampler.distribution(raw);
      expect([...found.ids], JSON.stringify(params)).toEqual(ids);
      for (const [place, probability] of found.probabilities.entries()) {
        expect(Math.abs(probability - p[place]!)).toBeLessThan(1e-12);
      }
    }
    const sampler = new Sampler({ repetition_penalty: 1.3 });
    sampler.observe(said);
    expect(greedy.map(() => sampler.sample(raw))).toEqual(greedy);
  },
};

test.each(Object.keys(vectors))("replays %s", async (kind) => {
  const replay = (REPLAYS as Record<string, ((found: unknown) => unknown) | undefined>)[kind];
  if (!replay) throw new Error(`vectors.json holds ${kind}, which REPLAYS lacks`);
  await replay(vectors[kind as keyof Vectors]);
});

test("every replay has its vectors", () => {
  expect(new Set(Object.keys(REPLAYS))).toEqual(new Set(Object.keys(vectors)));
});

test("chat.json, which native apps read, says what the template writes here", () => {
  for (const { messages, ids } of [...vectors.chats, ...vectors.turns]) {
    expect(idsOf(messages, chatFile)).toEqual(ids);
    expect(tokenizer.encodeChat(messages)).toEqual(ids);
  }
  expect(tokenizer.eosIds).toEqual(new Set(chatFile.eos_token_ids));
});
