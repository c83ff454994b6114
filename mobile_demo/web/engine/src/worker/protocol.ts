/** What the page's thread and the engine's worker say to each other. */

import type { Manifest } from "../artifact/manifest.ts";
import type { Failure } from "../errors.ts";
import type { Turn } from "../model/chat.ts";
import type { GenerationResult } from "../model/generate.ts";
import type { Defaults } from "../model/generation-config.ts";
import type { LoadOptions, LoadProgress } from "../model/model.ts";
import type { SamplingParams } from "../sampling/sampling.ts";
import type { Message } from "../text/chat-template.ts";

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

/** LoadOptions without what cannot be sent. */
export type SentOptions = Pick<LoadOptions, "threads" | "wasmPaths">;

export type Request =
  | { type: "load"; url: string; options: SentOptions }
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
