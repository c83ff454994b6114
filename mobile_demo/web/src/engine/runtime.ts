/**
 * Which build of onnxruntime-web runs, with how many threads. The plain build is small and runs
 * everywhere; the one with WebGPU is fetched only where it is tried.
 */

import wasmModule from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmBinary from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import gpuModule from "onnxruntime-web/ort-wasm-simd-threaded.jspi.mjs?url";
import gpuBinary from "onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm?url";

export type Ort = typeof import("onnxruntime-web/wasm");

const MOST_THREADS = 4; // beyond, phones add slow cores that the fast ones wait for

/** Threads need a cross-origin isolated page: only there is memory shared between workers. */
export function possibleThreads(): number {
  return globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
}

export async function wasmRuntime(threads: number): Promise<Ort> {
  const ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.wasmPaths = { mjs: absolute(wasmModule), wasm: absolute(wasmBinary) };
  ort.env.wasm.numThreads = threads;
  return ort;
}

/** Null where there is no GPU to use, or no way for WebAssembly to wait for it. */
export async function webgpuRuntime(threads: number): Promise<Ort | null> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  if (!gpu || !("Suspending" in WebAssembly) || !(await gpu.requestAdapter())) return null;
  const ort = await import("onnxruntime-web/jspi");
  ort.env.wasm.wasmPaths = { mjs: absolute(gpuModule), wasm: absolute(gpuBinary) };
  ort.env.wasm.numThreads = threads;
  return ort as Ort;
}

function absolute(url: string): string {
  return new URL(url, import.meta.url).href;
}
