/**
 * WASM or WebGPU. A GPU adds floats in another order, so it is taken only where it chose the same
 * ids as WASM for a probe, and faster; small models never try it, their steps are shorter than a
 * GPU's answer takes.
 */

import type { Artifact } from "./artifact.ts";
import { EngineError } from "./errors.ts";
import { TokenStream } from "./generate.ts";
import { dataFiles } from "./manifest.ts";
import { possibleThreads, wasmRuntime, webgpuRuntime } from "./runtime.ts";
import { Session } from "./session.ts";

export type Provider = "wasm" | "webgpu";
export type Backend = "auto" | Provider;

export interface Choice {
  session: Session;
  provider: Provider;
  threads: number;
}

const GPU_FROM = 64e6; // bytes of weights
const THREADS_FROM = 16e6; // bytes of weights: below, waking a second thread costs more than it does
const PROBE_IDS = 24;

export async function choose(
  artifact: Artifact,
  backend: Backend,
  threads?: number,
): Promise<Choice> {
  const { manifest, files } = artifact;
  const bytes = dataFiles(manifest).reduce((sum, name) => sum + manifest.files[name]!.size, 0);
  const count = Math.min(threads ?? (bytes < THREADS_FROM ? 1 : Infinity), possibleThreads());
  const onWasm = async (): Promise<Choice> => {
    const session = await Session.create(await wasmRuntime(count), manifest, files, "wasm");
    return { session, provider: "wasm", threads: count };
  };
  if (backend === "wasm" || (backend === "auto" && bytes < GPU_FROM)) return onWasm();
  const ort = await webgpuRuntime(count).catch(() => null);
  if (!ort) {
    if (backend === "auto") return onWasm();
    throw new EngineError("unsupported", "This browser has no WebGPU.", "Use the backend wasm.");
  }
  const onGpu = async (): Promise<Choice> => {
    const session = await Session.create(ort, manifest, files, "webgpu");
    return { session, provider: "webgpu", threads: count };
  };
  if (backend === "webgpu") return onGpu();
  const wasm = await onWasm();
  const gpu = await onGpu().catch(() => null);
  if (!gpu) return wasm;
  const [expected, found] = [await probe(wasm.session), await probe(gpu.session).catch(() => null)];
  const better =
    found !== null && found.ids.join() === expected.ids.join() && found.seconds < expected.seconds;
  const [taken, left] = better ? [gpu, wasm] : [wasm, gpu];
  await left.session.release();
  await taken.session.truncate(0);
  return taken;
}

/** The ids that follow an arbitrary prompt, and how long the steps after the first took. */
async function probe(session: Session): Promise<{ ids: number[]; seconds: number }> {
  const prompt = Array.from({ length: 16 }, (_, place) => (place * 7919) % session.vocabSize);
  const stream = new TokenStream(session, prompt, new Set(), { max_new_tokens: PROBE_IDS });
  for await (const _ of stream);
  return { ids: stream.result.ids, seconds: stream.result.decodeSeconds };
}
