/**
 * Reads the `manifest.json` of an artifact folder, and refuses what it does not know.
 * The rules are those of docs/artifact.md, which `bitnet_onnx/artifact.py` follows too.
 */

import { EngineError } from "../errors.ts";

export const MANIFEST = "manifest.json";
export const MODEL = "model.onnx";
const FORMAT_VERSION = 2;
const KNOWN = {
  operator_domain_version: [1],
  task: ["text-generation"],
  target: ["native", "stock"],
  head: ["bf16", "int8", "int6", "int4", "float32", "two-step", "two-step-int6", "two-step-int4"],
  kv_cache: ["float32", "float16", "int8", "int4"],
  linears: ["ternary", "bf16", "float32", "int8"],
} as const;
const SIZES = [
  "context_length",
  "vocab_size",
  "num_hidden_layers",
  "num_key_value_heads",
  "head_dim",
] as const;
const LARGEST = 2 ** 31 - 1;
const OBJECTS = ["source", "tools"] as const;
const FIELDS = ["format_version", ...Object.keys(KNOWN), ...SIZES, ...OBJECTS, "network", "files"];
// Version 1 had neither of these, and its files with weights had other names.
const NEW_IN_2 = { task: "text-generation", network: "" };
const OPTIONAL = { linears: "ternary" }; // in version 2
const NEW_ONES = { ...NEW_IN_2, ...OPTIONAL };
const DATA = /^(model\.onnx_data(_[0-9]+)?|model(-[0-9]+-of-[0-9]+)?\.onnx\.data)$/;

export interface FileEntry {
  size: number;
  sha256: string;
}

export interface Manifest extends Record<(typeof SIZES)[number], number> {
  format_version: number;
  network: string; // empty where the version is 1
  target: "stock";
  head: string;
  kv_cache: "float32" | "float16"; // a stock artifact has no int8 or int4
  source: { name?: string };
  files: Record<string, FileEntry>;
}

/** Raises EngineError that names the field. */
export function parseManifest(text: string): Manifest {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    throw new EngineError("artifact", `${MANIFEST} is not JSON.`);
  }
  if (!isObject(read)) throw new EngineError("artifact", `${MANIFEST} is not an object.`);
  // First: a later version may have other fields.
  const version = read["format_version"];
  if (!isSize(version) || version > FORMAT_VERSION) {
    throw new EngineError(
      "artifact",
      `The model's format_version is ${JSON.stringify(version)}, ` +
        `expected 1 to ${FORMAT_VERSION}.`,
      "Reload for a newer page, or export the model with the bitnet_onnx that made this page.",
    );
  }
  const known = new Set(version === 1 ? FIELDS.filter((name) => !(name in NEW_ONES)) : FIELDS);
  for (const name of new Set([...known, ...Object.keys(read)])) {
    if (!known.has(name)) refuse(`the field ${name} is unknown to this page`);
    if (!(name in read) && !(name in OPTIONAL)) refuse(`the field ${name} is missing`);
  }
  const manifest: Record<string, unknown> = { ...NEW_ONES, ...read };
  for (const [name, values] of Object.entries(KNOWN)) {
    if (!(values as readonly unknown[]).includes(manifest[name])) {
      refuse(`${name} is ${JSON.stringify(manifest[name])}, expected ${values.join(" or ")}`);
    }
  }
  for (const name of SIZES) {
    if (!isSize(manifest[name])) {
      refuse(`${name} is ${JSON.stringify(manifest[name])}, expected an integer from 1 to 2³¹ − 1`);
    }
  }
  if (typeof manifest["network"] !== "string") refuse("network is not a name");
  for (const name of OBJECTS) if (!isObject(manifest[name])) refuse(`${name} is not an object`);
  checkFiles(manifest["files"]);
  if (manifest["target"] !== "stock") {
    throw new EngineError(
      "artifact",
      "The model needs a library that browsers cannot load.",
      "Export it with: bitnet-onnx export CHECKPOINT -o ARTIFACT --target stock.",
    );
  }
  return manifest as unknown as Manifest;
}

/** The files that hold weights: one, or several where one would be too large. */
export function dataFiles(manifest: Manifest): string[] {
  return Object.keys(manifest.files).filter((name) => DATA.test(name));
}

function checkFiles(files: unknown): void {
  if (!isObject(files)) refuse("files is not an object");
  if (!(MODEL in files) || !Object.keys(files).some((name) => DATA.test(name)))
    refuse(`files must list ${MODEL} and its weights`);
  for (const [name, entry] of Object.entries(files)) {
    const plain = !/[/\\\0]/.test(name) && !["", ".", ".."].includes(name);
    const whole =
      isObject(entry) &&
      Object.keys(entry).length === 2 &&
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

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= LARGEST;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
