/** The settings dialog: reads and writes the form, and keeps what was chosen. */

import type { AnswerOptions, Defaults } from "bitnet-onnx-engine";
import { element } from "./elements.ts";
import { DEFAULTS, differing, type PageSettings, savedSettings, saveSettings } from "./saved.ts";

const dialog = element("settings", HTMLDialogElement);
const form = element("settings-form", HTMLFormElement);
const sampling = element("sampling", HTMLFieldSetElement);
const NUMBERS = [
  "max_new_tokens",
  "temperature",
  "top_k",
  "top_p",
  "min_p",
  "repetition_penalty",
] as const;

let base: Readonly<PageSettings> = DEFAULTS; // of the loaded model
let ofModel: Defaults = {};
let chosen = savedSettings();

/** Take what the model's generation_config.json asks for as the defaults. */
export function startFrom(defaults: Defaults): void {
  ofModel = defaults;
  const { eos_token_id: _, max_length: __, stop_strings, max_new_tokens, ...sampling } = defaults;
  base = {
    ...DEFAULTS,
    ...sampling,
    stop_strings: [...(stop_strings ?? DEFAULTS.stop_strings)],
    max_new_tokens: max_new_tokens ?? DEFAULTS.max_new_tokens,
  };
}

export function currentSettings(): PageSettings {
  return { ...base, ...chosen };
}

/** The options of an answer; the model's own max_length counts unless the user sets a limit. */
export function answerOptions(): AnswerOptions {
  const { system: _, max_new_tokens, ...options } = currentSettings();
  const own = ofModel.max_length !== undefined && ofModel.max_new_tokens === undefined;
  return own && chosen.max_new_tokens === undefined ? options : { ...options, max_new_tokens };
}

export function describe(about: string): void {
  element("about", HTMLParagraphElement).textContent = about;
}

export function prepareSettings(onForget: () => void): void {
  element("open-settings", HTMLButtonElement).onclick = () => {
    fill(currentSettings());
    dialog.showModal();
  };
  element("reset-settings", HTMLButtonElement).onclick = () => fill(base);
  element("forget", HTMLButtonElement).onclick = () => {
    dialog.close();
    onForget();
  };
  field("do_sample").onchange = () => showSampling();
  // Only a form whose values the browser finds valid is submitted.
  form.onsubmit = () => {
    chosen = differing(taken(), base);
    saveSettings(chosen);
  };
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
}

function fill(from: Readonly<PageSettings>): void {
  for (const name of NUMBERS) field(name).value = String(from[name]);
  field("seed").value = from.seed === null ? "" : String(from.seed);
  field("do_sample").checked = from.do_sample;
  area("system").value = from.system;
  area("stop_strings").value = from.stop_strings.join("\n");
  showSampling();
}

function taken(): PageSettings {
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, field(name).valueAsNumber]));
  const seed = field("seed").value;
  return {
    ...DEFAULTS,
    ...numbers,
    seed: seed === "" ? null : Number(seed),
    do_sample: field("do_sample").checked,
    system: area("system").value,
    stop_strings: area("stop_strings")
      .value.split("\n")
      .filter((line) => line !== ""),
  };
}

function showSampling(): void {
  sampling.disabled = !field("do_sample").checked;
}

function field(name: string): HTMLInputElement {
  return form.elements.namedItem(name) as HTMLInputElement;
}

function area(name: string): HTMLTextAreaElement {
  return form.elements.namedItem(name) as HTMLTextAreaElement;
}
