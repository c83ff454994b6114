/** The engine in a worker: one model, one chat, one request at a time; only "stop" may overtake. */

import { forgetAll } from "../artifact/artifact.ts";
import { defaultStore } from "../artifact/store.ts";
import { EngineError } from "../errors.ts";
import type { Chat, ChatStream } from "../model/chat.ts";
import { loadModel, type Model } from "../model/model.ts";
import type { TextStream } from "../model/text.ts";
import { usedMemory, watchMemory } from "./memory.ts";
import type { AnswerOptions, Reply, Request } from "./protocol.ts";

declare const self: DedicatedWorkerGlobalScope;

let model: Model | undefined;
let chat: Chat | undefined;
let running: TextStream | undefined;
let stopped = false;
let last: Promise<void> = Promise.resolve();

watchMemory();
self.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.type === "stop") {
    stopped = true;
    running?.abort();
    return;
  }
  last = last
    .then(() => serve(data))
    .catch((error: unknown) => {
      reply({ type: "failed", failure: EngineError.failure(error) });
    });
};

async function serve(request: Exclude<Request, { type: "stop" }>): Promise<void> {
  stopped = false;
  switch (request.type) {
    case "load":
      return load(request);
    case "start":
      loaded().chat.start(request.system, request.turns);
      return reply({ type: "done" });
    case "send": {
      const { chat } = loaded();
      const stream = chat.send(request.text, withProgress(request.options));
      return run(stream, stream.answer, chat);
    }
    case "generate": {
      const { model, chat } = loaded();
      const stream = model.generate(request.prompt, withProgress(request.options));
      return run(stream, stream, chat);
    }
    case "forget":
      await forgetAll(defaultStore());
      return reply({ type: "done" });
  }
}

async function load({ url, options }: Extract<Request, { type: "load" }>): Promise<void> {
  const before = model;
  model = chat = undefined;
  await before?.release();
  model = await loadModel(url, {
    ...options,
    onProgress: (progress) => reply({ type: "progress", progress }),
  });
  chat = model.chat();
  const facts = {
    manifest: model.manifest,
    threads: model.threads,
    kept: model.kept,
    hasChatTemplate: model.tokenizer.hasChatTemplate,
    defaults: model.defaults,
  };
  reply({ type: "loaded", facts, memory: usedMemory() });
}

async function run(pieces: ChatStream | TextStream, stream: TextStream, chat: Chat): Promise<void> {
  running = stream;
  try {
    if (stopped) stream.abort();
    await messages();
    for await (const text of pieces) {
      const { ids, decodeSeconds } = stream.result;
      reply({ type: "piece", text, tokens: ids.length, seconds: decodeSeconds });
      await messages();
    }
  } finally {
    running = undefined;
  }
  const { forgotten, turns } = chat;
  reply({
    type: "answer",
    answer: { ...stream.result, text: stream.text, forgotten, turns, memory: usedMemory() },
  });
}

function withProgress(options: AnswerOptions) {
  return {
    ...options,
    onPrefill: (done: number, total: number) => reply({ type: "prefill", done, total }),
  };
}

/** Lets a waiting "stop" be handled: the runtime's promises by themselves never do. */
function messages(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

function loaded(): { model: Model; chat: Chat } {
  if (model && chat) return { model, chat };
  throw new EngineError("unsupported", "No model is loaded.", "Load one first.");
}

function reply(message: Reply): void {
  self.postMessage(message);
}
