/** What the page's thread and the engine's worker say to each other. */

import type { Turn } from "./chat.ts";
import type { Message } from "./chat-template.ts";
import type { Failure } from "./errors.ts";
import type { GenerationResult } from "./generate.ts";
import type { Defaults } from "./generation-config.ts";
import type { Manifest } from "./manifest.ts";
import type { LoadProgress } from "./model.ts";
import type { SamplingParams } from "./sampling.ts";

/** TextOptions without the function, which cannot be sent. */
export interface AnswerOptions extends Partial<SamplingParams> {
  max_new_tokens?: number | undefined;
  stop_strings?: readonly string[];
}

/** What the page may want to show of a loaded model. */
export interface ModelFacts {
  manifest: Manifest;
  threads: number;
  kept: boolean;
  hasChatTemplate: boolean;
  defaults: Defaults;
}

export type Answer = GenerationResult & {
  text: string;
  forgotten: number;
  memory: number;
  turns: Turn[];
};

export type Request =
  | { type: "load"; url: string; threads: number | undefined }
  | { type: "start"; system: string | null; turns: Turn[] }
  | { type: "send"; text: string; options: AnswerOptions }
  | { type: "generate"; prompt: number[] | string | Message[]; options: AnswerOptions }
  | { type: "stop" }
  | { type: "forget" };

export type Reply =
  | { type: "progress"; progress: LoadProgress }
  | { type: "loaded"; facts: ModelFacts; memory: number }
  | { type: "prefill"; done: number; total: number }
  | { type: "piece"; text: string; tokens: number; seconds: number }
  | { type: "answer"; answer: Answer }
  | { type: "done" }
  | { type: "failed"; failure: Failure };
