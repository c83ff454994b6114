/** The page: loads the model, passes messages to the engine, shows what comes back. */

import { EngineError } from "../engine/errors.ts";
import type { LoadProgress } from "../engine/model.ts";
import type { ModelFacts } from "../engine/protocol.ts";
import { RemoteEngine } from "../engine/remote.ts";
import { prepareComposer, refuse, setAnswering, setReady } from "./composer.ts";
import { element } from "./elements.ts";
import { showExamples } from "./examples.ts";
import { dismiss, notify, type Way } from "./notices.ts";
import { prepareOffline } from "./offline.ts";
import { saveConversation, savedConversation } from "./saved.ts";
import { currentSettings, describe, prepareSettings } from "./settings.ts";
import { Reply, showQuestion, showTurns } from "./transcript.ts";
import { megabytes, running, speed, summary } from "./words.ts";

const MODEL_URL = "./model/";
const status = element("status", HTMLParagraphElement);
const announcer = element("announcer", HTMLParagraphElement);
const loading = element("loading", HTMLDivElement);
const bar = element("progress", HTMLProgressElement);
const loadingText = element("loading-text", HTMLParagraphElement);

const engine = new RemoteEngine();
let model: ModelFacts | null = null;
let system: string | null = null;

async function load(): Promise<void> {
  setReady(false);
  bar.hidden = false;
  status.textContent = "Loading";
  try {
    const { memory, ...facts } = await engine.load(MODEL_URL, {}, showLoading);
    model = facts;
    await begin(facts, memory);
  } catch (error) {
    status.textContent = "Not loaded";
    loadingText.textContent = "";
    bar.hidden = true;
    const { message, hint } = EngineError.failure(error);
    notify("load", hint ? `${message} ${hint}` : message, waysToLoad(error), true);
  }
}

async function begin(facts: ModelFacts, memory: number): Promise<void> {
  const name = facts.manifest.source.name;
  const size = Object.values(facts.manifest.files).reduce((sum, file) => sum + file.size, 0);
  element("name", HTMLHeadingElement).textContent = name ?? "bitnet_onnx";
  status.textContent = running(facts, memory);
  bar.hidden = true;
  loadingText.textContent = `Ready: ${megabytes(size)}, checked${facts.kept ? " and stored" : ""}.`;
  describe(`${name ?? "The model"}: ${facts.manifest.head} head, context of ${facts.manifest.context_length} tokens.`);
  showExamples(name, (question) => void ask(question));
  if (!facts.kept) {
    notify("storage", "The storage for this page is full: the model is here for this visit alone. Free some space, then store it again.", [
      { label: "Store again", act: () => void load() },
      { label: "Go on without", act: () => undefined },
    ]);
  }
  if (!globalThis.crossOriginIsolated) {
    notify("threads", "Threads are not available here, so one does all the work: the server sends no isolation headers. `bitnet-onnx web` sends them.", [
      { label: "Go on", act: () => undefined },
    ]);
  }
  const saved = savedConversation(fingerprint(facts));
  system = saved ? saved.system : currentSettings().system || null;
  await engine.start(system, saved?.turns);
  showTurns(saved?.turns ?? []);
  setReady(true);
  announcer.textContent = "The model is ready.";
  // Asks the browser not to drop the weights when space runs short.
  void navigator.storage?.persist?.();
}

async function ask(text: string): Promise<void> {
  const facts = model;
  if (!facts) return;
  setReady(false);
  setAnswering(true);
  announcer.textContent = "";
  const takeBack = showQuestion(text);
  const reply = new Reply();
  const { system: _, ...options } = currentSettings();
  try {
    const answer = await engine.send(text, options, {
      onPrefill: (done, total) => {
        if (done > 0) reply.note(`reading your message, ${Math.round((100 * done) / total)} %`);
      },
      onPiece: (piece, tokens, seconds) => {
        reply.add(piece);
        reply.note(speed(tokens, seconds));
      },
    });
    reply.finish(answer.text, summary(answer));
    status.textContent = [speed(answer.ids.length, answer.decodeSeconds), running(facts, answer.memory)]
      .filter(Boolean)
      .join(" · ");
    announcer.textContent = `Answer: ${answer.text}`;
    saveConversation({ model: fingerprint(facts), system, turns: answer.turns });
  } catch (error) {
    reply.remove();
    takeBack();
    const { kind, message, hint } = EngineError.failure(error);
    refuse(text, hint ? `${message} ${hint}` : message);
    if (kind !== "prompt" && kind !== "options") notify("answer", message, waysToLoad(error), true);
  }
  setAnswering(false);
  setReady(true);
}

async function newChat(): Promise<void> {
  engine.stop();
  if (!model) return;
  system = currentSettings().system || null;
  await engine.start(system);
  saveConversation({ model: fingerprint(model), system, turns: [] });
  showTurns([]);
  element("message", HTMLTextAreaElement).focus();
}

function showLoading(progress: LoadProgress): void {
  dismiss("load");
  loading.hidden = false;
  if (progress.stage === "start") {
    bar.removeAttribute("value");
    loadingText.textContent = "Starting the model";
    return;
  }
  const { received, total } = progress;
  bar.value = total ? received / total : 1;
  loadingText.textContent = `Fetching the model: ${megabytes(received)} of ${megabytes(total)}`;
}

/** What can be done about a model that does not load. */
function waysToLoad(error: unknown): Way[] {
  const again = { label: "Try again", act: () => void load() };
  const fresh = { label: "Download again", act: () => void forget() };
  const reload = { label: "Reload the page", act: () => location.reload() };
  switch (EngineError.failure(error).kind) {
    case "corrupt":
      return [fresh];
    case "artifact":
    case "memory":
    case "unsupported":
      return [reload, again];
    default:
      return [again];
  }
}

async function forget(): Promise<void> {
  setReady(false);
  await engine.forget();
  await load();
}

/** A conversation's ids belong to the model that chose them. */
function fingerprint(facts: ModelFacts): string {
  return facts.manifest.files["model.onnx.data"]?.sha256 ?? facts.manifest.files["model.onnx"]!.sha256;
}

prepareComposer(
  (text) => void ask(text),
  () => engine.stop(),
);
prepareSettings(() => void forget());
element("new-chat", HTMLButtonElement).onclick = () => void newChat();
void load();
void prepareOffline().catch(() => undefined); // no service worker here: the page works online
