/** An artifact on a server becomes a model that answers. The engine's front door. */

import { type Artifact, openArtifact } from "../artifact/artifact.ts";
import { dataFiles, type Manifest } from "../artifact/manifest.ts";
import { defaultStore, type Store } from "../artifact/store.ts";
import type { Message } from "../text/chat-template.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { Chat } from "./chat.ts";
import { type Defaults, readGenerationConfig } from "./generation-config.ts";
import { openRuntime, threadsFor, type WasmPaths } from "./runtime.ts";
import { Session } from "./session.ts";
import { type TextOptions, TextStream } from "./text.ts";

const WARM_UP = 300; // milliseconds

export type LoadProgress =
  | { stage: "download"; received: number; total: number }
  | { stage: "start" };

export interface LoadOptions {
  /** Default: 1 for small models, at most 4 for others; a page needs isolation for more than 1. */
  threads?: number;
  /** Where the files of onnxruntime-web lie; default: where it finds them itself. */
  wasmPaths?: WasmPaths;
  store?: Store;
  fetch?: typeof fetch;
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

export class Model {
  readonly manifest: Manifest;
  readonly threads: number;
  /** False where the weights could not be stored: the next visit downloads them again. */
  readonly kept: boolean;
  readonly tokenizer: Tokenizer;
  /** What the artifact's generation_config.json asks for; the options of a call go before it. */
  readonly defaults: Defaults;
  readonly #session: Session;

  constructor(artifact: Artifact, tokenizer: Tokenizer, session: Session, threads: number) {
    this.manifest = artifact.manifest;
    this.kept = artifact.kept;
    this.tokenizer = tokenizer;
    this.defaults = readGenerationConfig(artifact.files);
    this.threads = threads;
    this.#session = session;
  }

  /** A conversation; it reuses what its next prompt shares with the last one. */
  chat(): Chat {
    // The token that ends a turn ends an answer, also where the file does not name it.
    const eos_token_id = [...(this.defaults.eos_token_id ?? []), ...this.tokenizer.eosIds];
    return new Chat(this.#session, this.tokenizer, { ...this.defaults, eos_token_id });
  }

  /** The continuation of ids, of a text as it is, or of messages in the chat template. */
  generate(
    prompt: readonly number[] | string | readonly Message[],
    options: TextOptions,
  ): TextStream {
    const all = { ...this.defaults, ...options };
    return new TextStream(this.#session, this.tokenizer, this.#ids(prompt), all);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  #ids(prompt: readonly number[] | string | readonly Message[]): readonly number[] {
    if (typeof prompt === "string") return this.tokenizer.encode(prompt);
    const isIds = (list: typeof prompt): list is readonly number[] => typeof list[0] !== "object";
    return isIds(prompt) ? prompt : this.tokenizer.encodeChat(prompt);
  }
}

/** Raises EngineError, whatever is wrong. */
export async function loadModel(url: string, options: LoadOptions = {}): Promise<Model> {
  const artifact = await openArtifact(url, {
    store: options.store ?? defaultStore(),
    fetch: options.fetch ?? fetch.bind(globalThis),
    signal: options.signal,
    onProgress: (received, total) => options.onProgress?.({ stage: "download", received, total }),
  });
  options.onProgress?.({ stage: "start" });
  const tokenizer = new Tokenizer(artifact.files);
  const { manifest, files } = artifact;
  const bytes = dataFiles(manifest).reduce(
    (sum, name) => sum + (manifest.files[name]?.size ?? 0),
    0,
  );
  const threads = threadsFor(bytes, options.threads);
  const ort = await openRuntime(threads, options.wasmPaths);
  const session = await Session.create(ort, manifest, files);
  await warmUp(session);
  return new Model(artifact, tokenizer, session, threads);
}

/** A browser compiles what runs often a second time: better now than during an answer. */
async function warmUp(session: Session): Promise<void> {
  const end = performance.now() + WARM_UP;
  for (let step = 0; step < session.contextLength && performance.now() < end; step++) {
    await session.feed([step % session.vocabSize]);
  }
  session.truncate(0);
}
