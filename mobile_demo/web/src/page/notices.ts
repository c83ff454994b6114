/** Sentences above the composer, each with its ways out as buttons. */

import { element, make } from "./elements.ts";

export interface Way {
  label: string;
  act: () => void;
}

const list = element("notices", HTMLDivElement);

/** One notice of a kind at a time. Screen readers read a failure at once, others when idle. */
export function notify(
  kind: string,
  sentence: string,
  ways: readonly Way[],
  failure = false,
): void {
  dismiss(kind);
  const buttons = ways.map(({ label, act }) => {
    const onclick = () => {
      dismiss(kind);
      act();
    };
    return make("button", { type: "button", textContent: label, onclick });
  });
  const text = make("p", { textContent: sentence });
  const notice = make(
    "div",
    { className: failure ? "notice failure" : "notice" },
    text,
    ...buttons,
  );
  notice.dataset["kind"] = kind;
  notice.setAttribute("role", failure ? "alert" : "status");
  list.append(notice);
}

export function dismiss(kind: string): void {
  for (const notice of list.querySelectorAll<HTMLElement>(".notice")) {
    if (notice.dataset["kind"] === kind) notice.remove();
  }
}
