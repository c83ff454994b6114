/**
 * `manifest.json` of an artifact folder: read, and refused where it says what is not known here.
 * The rules are those of `bitnet_onnx/artifact.py`.
 */

import { EngineError } from "./errors.ts";

export const MANIFEST = "manifest.json";
export const MODEL = "model.onnx";
const FORMAT_VERSION = 1;
const KNOWN = {
  operator_domain_version: [1],
  target: ["native", "stock"],
  head: ["bf16", "int8", "float32", "two-step"],
  kv_cache: ["float32", "float16", "int8"],
} as const;
const SIZES = [
  "context_length",
  "vocab_size",
  "num_hidden_layers",
  "num_key_value_heads",
  "head_dim",
] as const;
const FIELDS = new Set([
  "format_version",
  ...Object.keys(KNOWN),
  ...SIZES,
  "source",
  "files",
  "tools",
]);

export interface FileEntry {
  size: number;
  sha256: string;
}

export interface Manifest extends Record<(typeof SIZES)[number], number> {
  target: "stock";
  head: string;
  kv_cache: "float32" | "float16"; // with the target stock there is no int8
  source: { name?: string };
  files: Record<string, FileEntry>;
}

/** Raises EngineError that names the field. */
export function parseManifest(text: string): Manifest {
  let manifest: unknown;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw new EngineError("artifact", `${MANIFEST} is no JSON.`);
  }
  if (!isObject(manifest)) throw new EngineError("artifact", `${MANIFEST} is no object.`);
  // First of all: a later version may have other fields.
  const version = manifest["format_version"];
  if (version !== FORMAT_VERSION) {
    throw new EngineError(
      "artifact",
      `The model's format_version is ${JSON.stringify(version)}, this page reads ${FORMAT_VERSION}.`,
      "Reload for a newer page, or export the model with the bitnet_onnx that made this page.",
    );
  }
  for (const name of new Set([...FIELDS, ...Object.keys(manifest)])) {
    if (!FIELDS.has(name)) refuse(`the field ${name} is unknown to this page`);
    if (!(name in manifest)) refuse(`the field ${name} is missing`);
  }
  for (const [name, known] of Object.entries(KNOWN)) {
    if (!(known as readonly unknown[]).includes(manifest[name])) {
      refuse(`${name} is ${JSON.stringify(manifest[name])}, known are ${known.join(", ")}`);
    }
  }
  for (const name of SIZES) {
    const value = manifest[name];
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      refuse(`${name} is ${JSON.stringify(value)}, expected a whole number`);
    }
  }
  if (!isObject(manifest["source"])) refuse("source is no object");
  checkFiles(manifest["files"]);
  if (manifest["target"] !== "stock") {
    throw new EngineError(
      "artifact",
      "The model is for machines that load our library; a browser runs the target stock.",
    );
  }
  return manifest as unknown as Manifest;
}

/** The files that hold weights: one, or several where one would be too large. */
export function dataFiles(manifest: Manifest): string[] {
  return Object.keys(manifest.files).filter((name) => name.endsWith(".onnx.data"));
}

function checkFiles(files: unknown): void {
  if (!isObject(files) || !(MODEL in files)) return refuse(`files must list ${MODEL}`);
  for (const [name, entry] of Object.entries(files)) {
    const plain = !/[/\\\0]/.test(name) && !["", ".", ".."].includes(name);
    const whole =
      isObject(entry) &&
      Number.isSafeInteger(entry["size"]) &&
      (entry["size"] as number) >= 0 &&
      /^[0-9a-f]{64}$/.test(String(entry["sha256"]));
    if (!plain || !whole)
      refuse(`files[${JSON.stringify(name)}] lacks a plain name, size or sha256`);
  }
}

function refuse(what: string): never {
  throw new EngineError("artifact", `The model's ${MANIFEST} cannot be read: ${what}.`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
