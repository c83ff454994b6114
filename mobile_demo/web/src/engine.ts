/** The engine beside the built page, `engine.js`, which other pages may import, too. */

import * as engine from "bitnet-onnx-engine";
import { wasmPaths } from "./remote.ts";

export * from "bitnet-onnx-engine";
export { RemoteEngine } from "./remote.ts";

export const loadModel: typeof engine.loadModel = (url, options) =>
  engine.loadModel(url, { wasmPaths, ...options });
