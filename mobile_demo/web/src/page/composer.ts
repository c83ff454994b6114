/** Where a message is written: Enter sends, Shift+Enter breaks the line, Escape stops. */

import { element } from "./elements.ts";

const form = element("composer", HTMLFormElement);
const message = element("message", HTMLTextAreaElement);
const send = element("send", HTMLButtonElement);
const stop = element("stop", HTMLButtonElement);
const error = element("message-error", HTMLParagraphElement);

let ready = false;

export function prepareComposer(onSend: (text: string) => void, onStop: () => void): void {
  form.onsubmit = (event) => {
    event.preventDefault();
    const text = message.value.trim();
    if (!ready || !text) return;
    message.value = "";
    update();
    onSend(text);
  };
  message.oninput = () => {
    error.textContent = "";
    update();
  };
  message.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  };
  stop.onclick = onStop;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !stop.hidden) onStop();
  });
}

export function setReady(value: boolean): void {
  ready = value;
  update();
}

/** The stop button takes the place of the send button, and the focus with it. */
export function setAnswering(answering: boolean): void {
  const focused = document.activeElement;
  send.hidden = answering;
  stop.hidden = !answering;
  if (focused === send || focused === stop) message.focus();
}

/** A message that could not be sent comes back, with the reason below. */
export function refuse(text: string, reason: string): void {
  message.value = text;
  error.textContent = reason;
  update();
  message.focus();
}

function update(): void {
  send.disabled = !ready || message.value.trim() === "";
}
