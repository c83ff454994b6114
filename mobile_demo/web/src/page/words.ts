/** Figures as short texts. */

import type { GenerationResult } from "bitnet-onnx-engine";

export function speed(tokens: number, seconds: number): string {
  return tokens > 1 && seconds > 0 ? `${((tokens - 1) / seconds).toFixed(0)} tokens/s` : "";
}

/** The line below an answer. */
export function summary(result: GenerationResult, forgotten: number): string {
  const { ids, decodeSeconds, prefillSeconds, finishReason } = result;
  const parts = [`first token ${prefillSeconds.toFixed(2)} s`, speed(ids.length, decodeSeconds)];
  if (finishReason === "aborted") parts.push("stopped");
  if (finishReason === "length") parts.push("reached the longest answer or the end of the context");
  if (forgotten) parts.push(`the oldest ${forgotten} messages were forgotten`);
  return parts.filter(Boolean).join(" · ");
}
