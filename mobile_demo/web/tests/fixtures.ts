/** What `tests/web_fixtures.py` wrote: an artifact, and what Python makes of it. */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Message } from "../src/engine/chat-template.ts";
import type { SamplingParams } from "../src/engine/sampling.ts";

export interface Cases {
  questions: { question: string; prompt: number[]; ids: number[]; text: string }[];
  texts: { text: string; ids: number[]; decoded: string }[];
  streams: { ids: number[]; pieces: string[] }[];
  chats: { messages: Message[]; ids: number[]; after: Message[]; after_ids: number[] | null }[];
  conversation: {
    text: string;
    ids: number[];
    prompt_tokens: number;
    cached_tokens: number;
    kept: number;
  }[];
  stopped: { prompt: number[]; stop: string; text: string; ids: number[] };
  sampling: {
    logits: number[];
    said: number[];
    cases: { params: Partial<SamplingParams>; ids: number[]; p: number[] }[];
    greedy: number[];
  };
}

const folder = process.env["BITNET_ONNX_FIXTURES"];
if (!folder)
  throw new Error("BITNET_ONNX_FIXTURES names no folder: python tests/web_fixtures.py FOLDER");

export const artifact = join(folder, "artifact");
export const cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as Cases;

export function artifactFiles(): Map<string, Uint8Array<ArrayBuffer>> {
  const names = readdirSync(artifact);
  return new Map(names.map((name) => [name, new Uint8Array(readFileSync(join(artifact, name)))]));
}
