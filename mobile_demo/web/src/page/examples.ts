/** Questions to try, for models that answer some kinds alone. */

import { element, make } from "./elements.ts";

const BY_MODEL: Record<string, readonly string[]> = {
  demo: ["What is 27 + 5?", "Spell the word PLANT.", "Convert 67 euros to cents.", "Which is larger, 52 or 38?"],
};

export function showExamples(model: string | undefined, ask: (question: string) => void): void {
  const items = (BY_MODEL[model ?? ""] ?? []).map((question) =>
    make("li", {}, make("button", { type: "button", textContent: question, onclick: () => ask(question) })),
  );
  element("examples", HTMLUListElement).replaceChildren(...items);
}
