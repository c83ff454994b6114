/** What the thread of a page needs where the engine runs in a worker: a few kilobytes. */

export { megabytes } from "./artifact/units.ts";
export { EngineError, type ErrorKind, type Failure } from "./errors.ts";
export type { Answer, AnswerOptions, ModelFacts } from "./worker/protocol.ts";
export { type AnswerListener, RemoteEngine } from "./worker/remote.ts";
