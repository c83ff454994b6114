/** What can go wrong for a user: one sentence, and a hint that says what to do. */

export type ErrorKind =
  | "artifact" // not what this engine reads
  | "corrupt" // bytes that differ from the manifest
  | "download" // the server or the way to it
  | "unsupported" // this browser, or this way of opening the page
  | "memory" // more than this browser gives
  | "prompt" // more tokens than the context holds
  | "options"; // a value that cannot be used

export interface Failure {
  kind: ErrorKind;
  message: string;
  hint?: string;
}

const EXPORT =
  "Export the checkpoint again with: bitnet-onnx export CHECKPOINT -o ARTIFACT --target stock.";

export class EngineError extends Error {
  override readonly name = "EngineError";
  readonly kind: ErrorKind;
  readonly hint: string | undefined;

  constructor(kind: ErrorKind, message: string, hint = kind === "artifact" ? EXPORT : undefined) {
    super(message);
    this.kind = kind;
    this.hint = hint;
  }

  /** What a worker can send to the page. */
  static failure(error: unknown): Failure {
    if (error instanceof EngineError) {
      const { kind, message, hint } = error;
      return hint === undefined ? { kind, message } : { kind, message, hint };
    }
    const text = error instanceof Error ? error.message : String(error);
    return { kind: "unsupported", message: `The engine stopped: ${text}`, hint: "Load again." };
  }
}
