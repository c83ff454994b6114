/** What can be done about a failure, as buttons. */

import { EngineError } from "bitnet-onnx-engine/remote";
import type { Way } from "./notices.ts";

export interface Ways {
  load: () => void;
  forget: () => void;
}

export function sentence(error: unknown): string {
  const { message, hint } = EngineError.failure(error);
  return hint ? `${message} ${hint}` : message;
}

/** The person can change the message; the model itself runs. */
export function isAboutMessage(error: unknown): boolean {
  return ["prompt", "options"].includes(EngineError.failure(error).kind);
}

export function waysOut(error: unknown, { load, forget }: Ways): Way[] {
  const again = { label: "Try again", act: load };
  const reload = { label: "Reload the page", act: () => location.reload() };
  switch (EngineError.failure(error).kind) {
    case "corrupt":
      return [{ label: "Download again", act: forget }];
    case "artifact":
    case "memory":
    case "unsupported":
      return [reload, again];
    default:
      return [again];
  }
}
