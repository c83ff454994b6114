/** Figures as short texts. */

import type { Answer, ModelFacts } from "../engine/protocol.ts";

export function megabytes(count: number): string {
  return `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
}

export function speed(tokens: number, seconds: number): string {
  return tokens > 1 && seconds > 0 ? `${((tokens - 1) / seconds).toFixed(0)} tokens/s` : "";
}

export function running({ provider, threads }: ModelFacts, memory: number): string {
  const where = provider === "webgpu" ? "WebGPU" : "WASM";
  return `${where}, ${threads} ${threads === 1 ? "thread" : "threads"} · ${megabytes(memory)} of memory`;
}

/** What is said below an answer. */
export function summary(answer: Answer): string {
  const { ids, decodeSeconds, prefillSeconds, finishReason, forgotten } = answer;
  const ends: Partial<Record<string, string>> = {
    aborted: "stopped",
    length: "cut at the longest answer or the end of the context",
  };
  return [
    `first token ${prefillSeconds.toFixed(2)} s`,
    speed(ids.length, decodeSeconds),
    ends[finishReason ?? ""] ?? "",
    forgotten ? `the oldest ${forgotten} messages were forgotten` : "",
  ]
    .filter(Boolean)
    .join(" · ");
}
