/** The line below the model's name, and the progress of loading. */

import type { LoadProgress, ModelFacts } from "bitnet-onnx-engine";
import { megabytes } from "bitnet-onnx-engine/remote";
import { element, make } from "./elements.ts";

const line = element("status", HTMLParagraphElement);
const bar = element("progress", HTMLProgressElement);
const loading = element("loading-text", HTMLParagraphElement);

export function say(text: string): void {
  line.textContent = text;
}

/** Narrow screens leave out where the model runs; the settings say it too. */
export function sayRunning(facts: ModelFacts, memory: number, speed: string): void {
  const figures = [speed, `${megabytes(memory)} memory`].filter(Boolean).join(" · ");
  line.replaceChildren(figures, make("span", { className: "roomy" }, ` · ${where(facts)}`));
}

export function where({ threads }: ModelFacts): string {
  return `WASM, ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

export function showProgress(progress: LoadProgress): void {
  bar.hidden = false;
  if (progress.stage === "start") {
    bar.removeAttribute("value");
    loading.textContent = "Starting the model";
    return;
  }
  const { received, total } = progress;
  bar.value = total ? received / total : 1;
  loading.textContent = `Fetching the model: ${megabytes(received)} of ${megabytes(total)}`;
}

export function endProgress(text: string): void {
  bar.hidden = true;
  loading.textContent = text;
}
