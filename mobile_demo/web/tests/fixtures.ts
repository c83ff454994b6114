/**
 * What `tests/support/web_fixtures.py` wrote: an artifact, and what Python makes of it. The vectors
 * of `mobile_demo/vectors` are among it.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Message } from "../src/engine/chat-template.ts";
import type { SamplingParams } from "../src/engine/sampling.ts";

export interface Cases {
  questions: { question: string; prompt: number[]; ids: number[]; text: string }[];
  texts: { text: string; ids: number[]; decoded: string }[];
  streams: { ids: number[]; pieces: string[] }[];
  chats: { messages: Message[]; ids: number[]; after: Message[]; after_ids: number[] | null }[];
  turns: { messages: Message[]; ids: number[] }[];
  stops: { strings: string[]; pieces: string[]; shown: string[] }[];
  templates: { source: string; messages: Message[]; text: string | null }[];
  rewritten: { source: string; messages: Message[]; reply: number[]; ids: number[] }[];
  tokenizers: {
    name: string;
    files: Record<string, unknown>;
    texts: { text: string; ids: number[] }[];
    chats: { messages: Message[]; ids: number[] | null }[];
    rows: { ids: number[]; text: string; pieces: string[] }[];
  }[];
  conversation: {
    text: string;
    ids: number[];
    prompt_tokens: number;
    cached_tokens: number;
    kept: number;
  }[];
  stopped: { prompt: number[]; stop: string; text: string; ids: number[] };
  generation: {
    values: Record<string, unknown>;
    refused: string | null;
    prompt: number[];
    ids: number[];
    reason: string;
  }[];
  special: { prompt: number[]; stop: string; text: string; ids: number[] };
  manifests: { text: string; refused: boolean }[];
  published?: { text: string; answer: string }[]; // of tests/published alone
  sampling: {
    logits: number[];
    said: number[];
    cases: { params: Partial<SamplingParams>; ids: number[]; p: number[] }[];
    greedy: number[];
  };
}

const folder = process.env["BITNET_ONNX_FIXTURES"];
if (!folder)
  throw new Error(
    "BITNET_ONNX_FIXTURES names no folder: python -m tests.support.web_fixtures FOLDER",
  );

export const artifact = join(folder, "artifact");
export const cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as Cases;

export function artifactFiles(): Map<string, Uint8Array<ArrayBuffer>> {
  const names = readdirSync(artifact);
  return new Map(names.map((name) => [name, new Uint8Array(readFileSync(join(artifact, name)))]));
}

/** The same model as version 1 of the format had it: two fields less, another name for the data. */
export function version1(): Map<string, Uint8Array<ArrayBuffer>> {
  const files = artifactFiles();
  const manifest = JSON.parse(new TextDecoder().decode(files.get("manifest.json"))) as {
    files: Record<string, { size: number; sha256: string }>;
    [name: string]: unknown;
  };
  manifest["format_version"] = 1;
  delete manifest["task"];
  delete manifest["network"];
  // The graph names its data; both names have the same length.
  const text = Buffer.from(files.get("model.onnx")!).toString("latin1");
  const graph = Buffer.from(text.replaceAll("model.onnx_data", "model.onnx.data"), "latin1");
  files.set("model.onnx", new Uint8Array(graph));
  files.set("model.onnx.data", files.get("model.onnx_data")!);
  manifest.files["model.onnx.data"] = manifest.files["model.onnx_data"]!;
  manifest.files["model.onnx"]!.sha256 = createHash("sha256").update(graph).digest("hex");
  delete manifest.files["model.onnx_data"];
  files.delete("model.onnx_data");
  files.set("manifest.json", new TextEncoder().encode(JSON.stringify(manifest)));
  return files;
}
