/** What the page says of models that it knows by name. */

import { element, make } from "./elements.ts";

interface Known {
  examples: readonly string[];
  /** Trained on single questions: what was said before would only confuse it. */
  single: boolean;
  about: string;
}

const MODELS: Record<string, Known> = {
  demo: {
    examples: [
      "Clara has 51 pears and buys 4 more. How many pears does Clara have?",
      "Order the numbers 10, 54, 63.",
      "David is in the garage. David went to the kitchen. Where is David now?",
      "Reverse PAINT.",
      "What weekday is Saturday minus 3 days?",
      "Convert 67 euros to cents.",
    ],
    single: true,
    about:
      "3 million weights, each −1, 0 or +1, answer six kinds of short questions, one at a time. " +
      "Nothing that you write leaves this device, and the model needs no network.",
  },
};

export function isSingle(model: string | undefined): boolean {
  return MODELS[model ?? ""]?.single ?? false;
}

export function introduce(model: string | undefined, ask: (question: string) => void): void {
  const known = MODELS[model ?? ""];
  if (!known) return;
  element("facts", HTMLParagraphElement).textContent = known.about;
  const items = known.examples.map((question) =>
    make(
      "li",
      {},
      make("button", { type: "button", textContent: question, onclick: () => ask(question) }),
    ),
  );
  element("examples", HTMLUListElement).replaceChildren(...items);
}
