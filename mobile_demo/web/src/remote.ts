/** The engine in its worker, which is told where this build has the files of its runtime. */

import { RemoteEngine as Remote } from "bitnet-onnx-engine/remote";
import module from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import binary from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

export const wasmPaths = { mjs: absolute(module), wasm: absolute(binary) };

export class RemoteEngine extends Remote {
  override load: Remote["load"] = (url, options) => super.load(url, { wasmPaths, ...options });
}

function absolute(url: string): string {
  return new URL(url, import.meta.url).href;
}
