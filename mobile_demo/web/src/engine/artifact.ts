/**
 * An artifact folder on a server: its manifest, and its files whole and checked.
 * Without a connection the manifest of the last visit counts, and the files are those stored.
 */

import { download } from "./download.ts";
import { EngineError } from "./errors.ts";
import { MANIFEST, MODEL, dataFiles, parseManifest, type Manifest } from "./manifest.ts";
import type { Store } from "./store.ts";

const NEEDED = [MODEL, "tokenizer.json", "tokenizer_config.json"];
const OPTIONAL = ["generation_config.json", "chat_template.jinja"];

export interface Artifact {
  manifest: Manifest;
  files: Map<string, Uint8Array<ArrayBuffer>>;
  /** False where the storage is full: the next visit downloads again. */
  kept: boolean;
}

export interface ArtifactOptions {
  store: Store;
  fetch: typeof fetch;
  signal?: AbortSignal | undefined;
  onProgress?: (received: number, total: number) => void;
}

export async function openArtifact(url: string, options: ArtifactOptions): Promise<Artifact> {
  if (typeof crypto.subtle === "undefined") {
    throw new EngineError(
      "unsupported",
      "This page was opened over plain HTTP, where a browser neither stores nor checks a model.",
      "Open it over HTTPS, or as localhost.",
    );
  }
  const folder = url.endsWith("/") ? url : `${url}/`;
  const manifest = await readManifest(folder, options);
  const names = [
    ...NEEDED,
    ...dataFiles(manifest),
    ...OPTIONAL.filter((name) => name in manifest.files),
  ];
  const total = names.reduce((sum, name) => sum + (manifest.files[name]?.size ?? 0), 0);
  const received = new Map<string, number>();
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  let kept = true;
  for (const name of names) {
    const entry = manifest.files[name];
    if (!entry) throw new EngineError("artifact", `The model's ${MANIFEST} lists no ${name}.`);
    const source = {
      url: folder + encodeURIComponent(name),
      ...options,
      onBytes: (count: number) => {
        received.set(name, count);
        options.onProgress?.(
          [...received.values()].reduce((a, b) => a + b),
          total,
        );
      },
      onFull: () => (kept = false),
    };
    files.set(name, await download(entry, source));
  }
  await forgetOthers(options.store, manifest);
  return { manifest, files, kept };
}

/** Drop everything stored: the way out when a download is damaged or the device is full. */
export async function forgetAll(store: Store): Promise<void> {
  for (const key of await store.keys()) await store.delete(key);
}

async function readManifest(folder: string, options: ArtifactOptions): Promise<Manifest> {
  const key = `manifest/${encodeURIComponent(folder)}`;
  const stored = await options.store.get(key);
  let response: Response;
  try {
    response = await options.fetch(folder + MANIFEST, {
      cache: "no-cache",
      signal: options.signal ?? null,
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    if (stored) return parseManifest(new TextDecoder().decode(stored));
    const reason = error instanceof Error ? error.message : String(error);
    throw new EngineError(
      "download",
      `The model cannot be reached, and none is stored here (${reason}).`,
      "Go online once; from then on the page works without a connection.",
    );
  }
  if (!response.ok) {
    throw new EngineError(
      "download",
      `The server answered ${response.status} for ${MANIFEST}.`,
      "Serve an artifact folder with: bitnet-onnx web ARTIFACT.",
    );
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  const manifest = parseManifest(new TextDecoder().decode(bytes));
  await options.store.put(key, bytes);
  return manifest;
}

/** Pieces of files that this model does not have: an earlier version's. */
async function forgetOthers(store: Store, manifest: Manifest): Promise<void> {
  const used = new Set(Object.values(manifest.files).map((entry) => entry.sha256));
  for (const key of await store.keys()) {
    const [owner = ""] = key.split("/");
    if (owner !== "manifest" && !used.has(owner)) await store.delete(key);
  }
}
