/**
 * An artifact folder on a server: its manifest, and its files whole and checked.
 * Where the server cannot be reached, the last complete download is used.
 */

import { EngineError } from "../errors.ts";
import { download } from "./download.ts";
import { dataFiles, MANIFEST, type Manifest, MODEL, parseManifest } from "./manifest.ts";
import type { Store } from "./store.ts";

const NEEDED = [MODEL, "tokenizer.json", "tokenizer_config.json"];
const OPTIONAL = [
  "generation_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "config.json",
  "special_tokens_map.json",
  "added_tokens.json",
];
const PATIENCE = 5000; // milliseconds to wait for the server where a model is stored
const MANIFESTS = "manifest/"; // before the keys of stored manifests

type Bytes = Uint8Array<ArrayBuffer>;

export interface Artifact {
  manifest: Manifest;
  files: Map<string, Bytes>;
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
  const key = MANIFESTS + encodeURIComponent(folder);
  const stored = await options.store.get(key);
  const [manifest, text] = await readManifest(folder, stored, options);
  const names = [
    ...NEEDED,
    ...dataFiles(manifest),
    ...OPTIONAL.filter((name) => name in manifest.files),
  ];
  const total = names.reduce((sum, name) => sum + (manifest.files[name]?.size ?? 0), 0);
  const received = new Map<string, number>();
  const files = new Map<string, Bytes>();
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
  // Last, so that an unfinished download leaves the model of the last visit as it was.
  if (kept) kept = await options.store.put(key, text);
  else await options.store.delete(key); // the next try has its room
  await forgetUnlisted(options.store, manifest);
  return { manifest, files, kept };
}

/** Drop everything stored: the way out when a download is damaged or the device is full. */
export async function forgetAll(store: Store): Promise<void> {
  for (const key of await store.keys()) await store.delete(key);
}

/** The manifest and its bytes: from the server, or as stored if it is silent or fails. */
async function readManifest(
  folder: string,
  stored: Bytes | undefined,
  { fetch, signal }: ArtifactOptions,
): Promise<[Manifest, Bytes]> {
  const parsed = (bytes: Bytes): [Manifest, Bytes] => [
    parseManifest(new TextDecoder().decode(bytes)),
    bytes,
  ];
  const signals = [...(signal ? [signal] : []), ...(stored ? [AbortSignal.timeout(PATIENCE)] : [])];
  let response: Response;
  let bytes: Bytes;
  try {
    response = await fetch(folder + MANIFEST, {
      cache: "no-cache",
      signal: AbortSignal.any(signals),
    });
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    signal?.throwIfAborted();
    if (stored) return parsed(stored);
    const reason = error instanceof Error ? error.message : String(error);
    throw new EngineError(
      "download",
      `The model cannot be reached, and none is stored here (${reason}).`,
      "Go online once; from then on the page works without a connection.",
    );
  }
  if (response.ok) return parsed(bytes);
  if (stored) return parsed(stored);
  throw new EngineError(
    "download",
    `The server answered ${response.status} for ${MANIFEST}.`,
    "Serve an artifact folder with: bitnet-onnx web ARTIFACT.",
  );
}

/** Drop the pieces of files that no stored manifest lists: those of earlier versions. */
async function forgetUnlisted(store: Store, current: Manifest): Promise<void> {
  const keys = await store.keys();
  const manifests = [current];
  for (const key of keys.filter((key) => key.startsWith(MANIFESTS))) {
    const text = new TextDecoder().decode(await store.get(key));
    try {
      manifests.push(parseManifest(text));
    } catch {
      await store.delete(key); // an earlier page's format
    }
  }
  const listed = new Set(
    manifests.flatMap(({ files }) => Object.values(files).map(({ sha256 }) => sha256)),
  );
  for (const key of keys) {
    const [owner = ""] = key.split("/");
    if (!key.startsWith(MANIFESTS) && !listed.has(owner)) await store.delete(key);
  }
}
