/** What outlives a reload: the settings, and the conversation with the ids of its answers. */

import type { SamplingParams, Turn } from "bitnet-onnx-engine";

export interface PageSettings extends SamplingParams {
  system: string;
  max_new_tokens: number;
  stop_strings: string[];
}

/** The ids belong to one model; `model` is the hash of its weights. */
export interface Conversation {
  model: string;
  system: string | null;
  turns: Turn[];
}

export const DEFAULTS: Readonly<PageSettings> = {
  system: "",
  max_new_tokens: 512,
  stop_strings: [],
  do_sample: false,
  temperature: 1,
  top_k: 50,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  seed: null,
};

/** What the user chose to be other than the defaults. */
export function savedSettings(): Partial<PageSettings> {
  const saved = read<Partial<PageSettings>>("settings") ?? {};
  // An earlier page saved every setting, chosen or not.
  const isWhole = Object.keys(DEFAULTS).every((name) => name in saved);
  return isWhole ? differing(saved, DEFAULTS) : saved;
}

export function saveSettings(settings: Partial<PageSettings>): void {
  write("settings", settings);
}

/** The settings that are not those of the base. */
export function differing(
  settings: Partial<PageSettings>,
  base: Readonly<PageSettings>,
): Partial<PageSettings> {
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  return Object.fromEntries(
    Object.entries(settings).filter(
      ([name, value]) => !same(value, base[name as keyof PageSettings]),
    ),
  );
}

export function savedConversation(model: string): Conversation | null {
  const found = read<Conversation>("conversation");
  return found?.model === model ? found : null;
}

export function saveConversation(conversation: Conversation): void {
  write("conversation", conversation);
}

function read<T>(name: string): T | null {
  try {
    return JSON.parse(localStorage.getItem(`bitnet-onnx.${name}`) ?? "null") as T | null;
  } catch {
    return null; // written by something else, or storage is switched off
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(`bitnet-onnx.${name}`, JSON.stringify(value));
  } catch {
    // Full, or switched off: this visit goes on without.
  }
}
