/** A chat with a published model; `tests/published` gives it the artifact and Python's answers. */

import * as ort from "onnxruntime-web";
import { expect, test } from "vitest";
import { openArtifact } from "../../engine/src/artifact/artifact.ts";
import { Model } from "../../engine/src/model/model.ts";
import type { Ort } from "../../engine/src/model/runtime.ts";
import { Session } from "../../engine/src/model/session.ts";
import { MemoryStore } from "../../engine/src/artifact/store.ts";
import { Tokenizer } from "../../engine/src/text/tokenizer.ts";
import { cases } from "../fixtures.ts";
import { FolderServer } from "./folder-server.ts";

const turns = cases.published ?? [];

test.runIf(turns.length)("its answers are Python's", async () => {
  ort.env.wasm.numThreads = 1;
  const { fetch } = new FolderServer();
  const artifact = await openArtifact("http://here/", { store: new MemoryStore(), fetch });
  const tokenizer = new Tokenizer(artifact.files);
  const session = await Session.create(ort as Ort, artifact.manifest, artifact.files);
  const chat = new Model(artifact, tokenizer, session, 1).chat();
  for (const { text, answer } of turns) {
    const pieces: string[] = [];
    for await (const piece of chat.send(text, { max_new_tokens: 24 })) pieces.push(piece);
    expect(pieces.join(""), text).toBe(answer);
  }
});
