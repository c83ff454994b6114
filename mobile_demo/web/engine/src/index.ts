/** The package: `loadModel` runs in this thread, `RemoteEngine` in a worker of its own. */

export { type Manifest, parseManifest } from "./artifact/manifest.ts";
export { CacheStore, MemoryStore, type Store } from "./artifact/store.ts";
export { Chat, ChatStream, type Turn } from "./model/chat.ts";
export type { FinishReason, GenerationResult } from "./model/generate.ts";
export type { Defaults } from "./model/generation-config.ts";
export { type LoadOptions, type LoadProgress, loadModel, Model } from "./model/model.ts";
export type { WasmPaths } from "./model/runtime.ts";
export type { TextOptions, TextStream } from "./model/text.ts";
export * from "./remote.ts";
export { GREEDY, Sampler, type SamplingParams } from "./sampling/sampling.ts";
export type { Message } from "./text/chat-template.ts";
export { StreamDecoder } from "./text/stream-decoder.ts";
export { Tokenizer } from "./text/tokenizer.ts";
