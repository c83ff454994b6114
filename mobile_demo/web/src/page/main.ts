/** The page: loads the model, passes messages to the engine, shows what comes back. */

import type { ModelFacts, Turn } from "bitnet-onnx-engine";
import { EngineError, megabytes } from "bitnet-onnx-engine/remote";
import { RemoteEngine } from "../remote.ts";
import { prepareComposer, refuse, setAnswering, setReady } from "./composer.ts";
import { element } from "./elements.ts";
import { isAboutMessage, sentence, waysOut } from "./failures.ts";
import { introduce, isSingle } from "./known-models.ts";
import { dismiss, notify } from "./notices.ts";
import { prepareOffline } from "./offline.ts";
import { saveConversation, savedConversation } from "./saved.ts";
import {
  answerOptions,
  currentSettings,
  describe,
  prepareSettings,
  startFrom,
} from "./settings.ts";
import { endProgress, say, sayRunning, showProgress, where } from "./status.ts";
import { Reply, showQuestion, showTurns } from "./transcript.ts";
import { speed, summary } from "./words.ts";

const MODEL_URL = "./model/";
const announcer = element("announcer", HTMLParagraphElement);

const engine = new RemoteEngine();
const ways = { load: () => void load(), forget: () => void forget() };
let model: ModelFacts | null = null;
let system: string | null = null;
let turns: Turn[] = []; // all that are on the screen

async function load(): Promise<void> {
  setReady(false);
  model = null;
  for (const kind of ["load", "answer", "storage", "threads"]) dismiss(kind);
  say("Loading");
  try {
    const { memory, ...facts } = await engine.load(MODEL_URL, { onProgress: showProgress });
    await begin(facts, memory);
    model = facts;
    setReady(true);
    announcer.textContent = "The model is ready.";
  } catch (error) {
    say("Not loaded");
    endProgress("");
    notify("load", sentence(error), waysOut(error, ways), true);
  }
}

async function begin(facts: ModelFacts, memory: number): Promise<void> {
  if (!facts.hasChatTemplate) {
    throw new EngineError(
      "artifact",
      "The model has no chat template, so it cannot chat.",
      "Add chat_template.jinja to the checkpoint and export it again.",
    );
  }
  const { source, files, head, context_length } = facts.manifest;
  const size = Object.values(files).reduce((sum, file) => sum + file.size, 0);
  element("name", HTMLHeadingElement).textContent = source.name ?? "bitnet_onnx";
  sayRunning(facts, memory, "");
  endProgress(`Ready: ${megabytes(size)}, checked${facts.kept ? " and stored" : ""}.`);
  describe(`${where(facts)}; ${head} head, context of ${context_length} tokens.`);
  startFrom(facts.defaults);
  introduce(source.name, (question) => void ask(question));
  warn(facts);
  const saved = savedConversation(fingerprint(facts));
  system = saved ? saved.system : currentSettings().system || null;
  turns = saved?.turns ?? [];
  await engine.start(system, turns);
  showTurns(turns);
  // Asks the browser not to drop the weights when space runs short.
  void navigator.storage?.persist?.();
}

function warn(facts: ModelFacts): void {
  if (!facts.kept) {
    notify(
      "storage",
      "The storage for this page is full: the model stays for this visit only. " +
        "Free some space, then store it again.",
      [
        { label: "Store again", act: ways.load },
        { label: "Continue", act: () => undefined },
      ],
    );
  }
  if (!globalThis.crossOriginIsolated) {
    notify(
      "threads",
      "Threads are not available here, because the server sends no isolation headers. " +
        "Serve the page with: bitnet-onnx web.",
      [{ label: "Continue", act: () => undefined }],
    );
  }
}

async function ask(text: string): Promise<void> {
  const facts = model;
  if (!facts) return;
  setReady(false);
  setAnswering(true);
  announcer.textContent = "";
  const takeBack = showQuestion(text);
  const reply = new Reply();
  const options = answerOptions();
  try {
    if (isSingle(facts.manifest.source.name)) await engine.start(system);
    const answer = await engine.send(text, options, {
      onPrefill: (done, total) => {
        if (done > 0) reply.note(`reading your message, ${Math.round((100 * done) / total)} %`);
      },
      onPiece: (piece, tokens, seconds) => {
        reply.add(piece);
        reply.note(speed(tokens, seconds));
      },
    });
    if (answer.ids.length > 0) {
      reply.finish(answer.text, summary(answer, answer.forgotten));
      sayRunning(facts, answer.memory, speed(answer.ids.length, answer.decodeSeconds));
      announcer.textContent = `Answer: ${answer.text}`;
      turns = [...turns, ...answer.turns.slice(-1)];
      saveConversation({ model: fingerprint(facts), system, turns });
    } else {
      // Stopped before the first token: the engine has no such turn, and the message can be changed.
      reply.remove();
      takeBack();
      refuse(text, "");
    }
  } catch (error) {
    reply.remove();
    takeBack();
    const aboutMessage = isAboutMessage(error);
    refuse(text, aboutMessage ? sentence(error) : "");
    if (!aboutMessage) notify("answer", sentence(error), waysOut(error, ways), true);
  }
  setAnswering(false);
  setReady(true);
}

async function newChat(): Promise<void> {
  engine.stop();
  if (!model) return;
  system = currentSettings().system || null;
  await engine.start(system);
  turns = [];
  saveConversation({ model: fingerprint(model), system, turns });
  showTurns(turns);
  element("message", HTMLTextAreaElement).focus();
}

async function forget(): Promise<void> {
  setReady(false);
  await engine.forget();
  await load();
}

/** A conversation's ids belong to the model that chose them. */
function fingerprint({ manifest: { files } }: ModelFacts): string {
  return Object.entries(files)
    .filter(([name]) => name.startsWith("model.onnx"))
    .map(([, { sha256 }]) => sha256)
    .join();
}

prepareComposer(
  (text) => void ask(text),
  () => engine.stop(),
);
prepareSettings(() => void forget());
element("new-chat", HTMLButtonElement).onclick = () => void newChat();
void load();
void prepareOffline().catch(() => undefined); // no service worker here: the page works online
