/** A chat with a published model on the page; `tests/published` gives it the artifact. */

import { cases } from "../fixtures.ts";
import { ask, ready } from "./person.ts";
import { expect, test } from "./serve.ts";

const turns = cases.published ?? [];

test("its answers on the page are Python's", async ({ page, site }) => {
  test.skip(turns.length === 0, "these fixtures are not those of a published model");
  await page.goto(site.url);
  await ready(page);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Longest answer").fill("24");
  await page.getByRole("button", { name: "Done" }).click();
  for (const { text, answer } of turns) expect(await ask(page, text), text).toBe(answer.trim());
});
