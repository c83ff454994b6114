/**
 * The engine without a page: `loadModel` in this thread, `RemoteEngine` in a worker of its own.
 */

export { Chat, ChatStream, type Turn } from "./chat.ts";
export type { Message } from "./chat-template.ts";
export { EngineError, type ErrorKind } from "./errors.ts";
export type { FinishReason, GenerationResult } from "./generate.ts";
export type { Defaults } from "./generation-config.ts";
export { type Manifest, parseManifest } from "./manifest.ts";
export { type LoadOptions, type LoadProgress, loadModel, Model } from "./model.ts";
export type { Answer, AnswerOptions, ModelFacts } from "./protocol.ts";
export { type AnswerListener, RemoteEngine } from "./remote.ts";
export { GREEDY, Sampler, type SamplingParams } from "./sampling.ts";
export { CacheStore, MemoryStore, type Store } from "./store.ts";
export { StreamDecoder } from "./stream-decoder.ts";
export { Tokenizer } from "./tokenizer.ts";
