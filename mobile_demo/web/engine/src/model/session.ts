/**
 * An artifact in onnxruntime-web: ids in, logits out; owns the KV cache, knows no text.
 *
 * The tensors that a step returns are fed to the next one as they are. The WASM runtime copies
 * tensors in and out, so the cache holds filled positions only.
 */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import { dataFiles, type Manifest, MODEL } from "../artifact/manifest.ts";
import { EngineError } from "../errors.ts";
import type { Ort } from "./runtime.ts";

const CHUNK = 64; // positions of one prefill step: bounds the logits, shows progress, can be stopped

export type PrefillProgress = (done: number, total: number) => void;

/** What the loop needs of a session. */
export interface SessionLike {
  readonly vocabSize: number;
  readonly contextLength: number;
  /** What the cache holds, a position each. */
  readonly ids: readonly number[];
  /** Append ids; the logits of the last of them. Stops between chunks when asked to. */
  feed(
    ids: readonly number[],
    progress?: PrefillProgress,
    stopped?: () => boolean,
  ): Promise<Float32Array>;
  /** Keep only the first positions. */
  truncate(length: number): void;
}

export class Session implements SessionLike {
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly #ids: number[] = [];
  readonly #ort: Ort;
  readonly #session: InferenceSession;
  readonly #empty: Tensor;
  #cache: Map<string, Tensor>;

  private constructor(ort: Ort, session: InferenceSession, manifest: Manifest) {
    this.#ort = ort;
    this.#session = session;
    this.vocabSize = manifest.vocab_size;
    this.contextLength = manifest.context_length;
    const type = manifest.kv_cache;
    const shape = [1, manifest.num_key_value_heads, 0, manifest.head_dim];
    this.#empty = new ort.Tensor(type, type === "float16" ? halves(0) : new Float32Array(0), shape);
    this.#cache = this.#emptied();
  }

  get ids(): readonly number[] {
    return this.#ids;
  }

  static async create(
    ort: Ort,
    manifest: Manifest,
    files: Map<string, Uint8Array>,
  ): Promise<Session> {
    const content = (name: string) => {
      const bytes = files.get(name);
      if (bytes) return bytes;
      throw new EngineError("artifact", `The model has no ${name}.`);
    };
    const graph = content(MODEL);
    const externalData = dataFiles(manifest).map((path) => ({ path, data: content(path) }));
    try {
      const session = await ort.InferenceSession.create(graph, {
        executionProviders: ["wasm"],
        externalData,
        logSeverityLevel: 3,
      });
      return new Session(ort, session, manifest);
    } catch (error) {
      throw asEngineError(error);
    }
  }

  async feed(
    ids: readonly number[],
    progress?: PrefillProgress,
    stopped?: () => boolean,
  ): Promise<Float32Array> {
    let logits = new Float32Array();
    for (let start = 0; start < ids.length && !stopped?.(); start += CHUNK) {
      progress?.(start, ids.length);
      logits = await this.#step(ids.slice(start, start + CHUNK));
    }
    return logits;
  }

  truncate(length: number): void {
    if (length === this.#ids.length) return;
    const shortened = [...this.#cache].map(
      ([name, tensor]) => [name, this.#shortened(tensor, length)] as const,
    );
    this.#cache = length === 0 ? this.#emptied() : new Map(shortened);
    this.#ids.length = length;
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  async #step(ids: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    const { Tensor } = this.#ort;
    const total = this.#ids.length + ids.length;
    const feeds: Record<string, Tensor> = Object.fromEntries(this.#cache);
    feeds["input_ids"] = new Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
    feeds["attention_mask"] = new Tensor("int64", new BigInt64Array(total).fill(1n), [1, total]);
    let outputs: InferenceSession.OnnxValueMapType;
    try {
      outputs = await this.#session.run(feeds);
    } catch (error) {
      throw asEngineError(error);
    }
    const cache = new Map<string, Tensor>();
    for (const [name, value] of Object.entries(outputs)) {
      if (name !== "logits") cache.set(name.replace("present", "past_key_values"), value as Tensor);
    }
    this.#cache = cache;
    this.#ids.push(...ids);
    const logits = (outputs["logits"] as Tensor).data as Float32Array<ArrayBuffer>;
    return logits.subarray(logits.length - this.vocabSize);
  }

  #emptied(): Map<string, Tensor> {
    const names = this.#session.inputNames.filter((name) => name.startsWith("past_key_values."));
    return new Map(names.map((name) => [name, this.#empty]));
  }

  #shortened(tensor: Tensor, length: number): Tensor {
    const [rows = 1, heads = 1, positions = 1, width = 1] = tensor.dims;
    const from = tensor.data as Float32Array;
    const to = from.slice(0, rows * heads * length * width);
    for (let head = 0; head < rows * heads; head++) {
      const start = head * positions * width;
      to.set(from.subarray(start, start + length * width), head * length * width);
    }
    return new this.#ort.Tensor(tensor.type, to, [rows, heads, length, width]) as Tensor;
  }
}

/** What holds float16 here: older browsers have no type of their own for it. */
function halves(length: number): Uint16Array {
  const { Float16Array } = globalThis as { Float16Array?: new (length: number) => unknown };
  return (Float16Array ? new Float16Array(length) : new Uint16Array(length)) as Uint16Array;
}

function asEngineError(error: unknown): EngineError {
  const text = error instanceof Error ? error.message : String(error);
  if (/alloc|memory|RangeError/i.test(text) || error instanceof RangeError) {
    return new EngineError(
      "memory",
      "The model needs more memory than this browser gives.",
      "Close other tabs, or take a smaller model.",
    );
  }
  return new EngineError(
    "unsupported",
    `ONNX Runtime cannot run the model: ${text}`,
    "Reload the page.",
  );
}
