/**
 * onnxruntime-web's WASM build, and with how many threads it runs.
 *
 * Not WebGPU: the graph adds its norms in float64, which GPUs in browsers do not have. The build of
 * onnxruntime-web 1.30 with WebGPU lacks it on the processor too, and refuses the graph.
 */

export type Ort = typeof import("onnxruntime-web/wasm");

/** A folder's URL, or those of the two files `ort-wasm-simd-threaded.mjs` and `.wasm`. */
export type WasmPaths = string | { mjs?: string; wasm?: string };

const MOST_THREADS = 4; // more are slow cores of a phone, which the fast ones wait for
const SMALL = 16e6; // bytes of weights: below, a second thread costs more than it gains

/** Threads need a cross-origin isolated page: workers share memory only there. */
export function threadsFor(bytes: number, wanted?: number): number {
  if (!globalThis.crossOriginIsolated) return 1;
  const useful = bytes < SMALL ? 1 : Math.min(navigator.hardwareConcurrency, MOST_THREADS);
  return wanted ?? useful;
}

export async function openRuntime(threads: number, wasmPaths?: WasmPaths): Promise<Ort> {
  const ort = await import("onnxruntime-web/wasm");
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths;
  ort.env.wasm.numThreads = threads;
  return ort;
}
