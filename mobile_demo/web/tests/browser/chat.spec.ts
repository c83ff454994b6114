/** The page as a person uses it. */

import { cases, vectors } from "../fixtures.ts";
import { answered, ask, babble, lastAnswer, message, ready } from "./person.ts";
import { expect, test } from "./serve.ts";

const WEIGHTS = "/model/model.onnx_data";

test("answers three typed questions as Python does, and nothing moves", async ({ page, site }) => {
  await page.addInitScript(() => {
    const seen = { shift: 0 };
    Object.assign(globalThis, { seen });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries())
        seen.shift += (entry as unknown as { value: number }).value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(site.url);
  await ready(page);
  for (const { question, text } of cases.questions.slice(0, 3)) {
    expect(await ask(page, question)).toBe(text.trim());
  }
  await expect(page.locator("#transcript li")).toHaveCount(6);
  const shift = await page.evaluate(
    () => (globalThis as unknown as { seen: { shift: number } }).seen.shift,
  );
  expect(shift).toBeLessThan(0.05);
});

test("streams, and stops by the button and by Escape", async ({ page, site }) => {
  await page.goto(site.url);
  await ready(page);
  await babble(page);
  await message(page).fill("Say something");
  await page.getByRole("button", { name: "Send" }).click();
  const text = lastAnswer(page).locator(".text");
  const lengths = new Set<number>();
  while (lengths.size < 4) lengths.add((await text.innerText()).length);
  await page.getByRole("button", { name: "Stop" }).click();
  await answered(page);
  await expect(lastAnswer(page).locator(".note")).toContainText("stopped");
  await expect(page.getByRole("button", { name: "Send" })).toBeVisible();
  await expect(page.locator("#status")).toContainText("tokens/s");
  await message(page).fill("Say more");
  await page.keyboard.press("Enter");
  await expect(page.locator("#transcript li")).toHaveCount(4);
  await expect(lastAnswer(page).locator(".note")).toContainText("tokens/s");
  await page.keyboard.press("Escape");
  await answered(page);
  await expect(message(page)).toBeFocused();
});

test("a reload brings back settings and conversation, without a second download", async ({
  page,
  site,
}) => {
  // Under another name the page takes the model for one that remembers what was said.
  site.replaced.set("manifest.json", (text) => text.replace('"demo"', '"other"'));
  await page.goto(site.url);
  await ready(page);
  const first = await ask(page, vectors.conversation[0]!.text);
  await page.reload();
  await ready(page);
  expect(site.requests.filter((url) => url === WEIGHTS)).toHaveLength(1);
  await expect(page.locator("#transcript li")).toHaveCount(2);
  await expect(lastAnswer(page).locator(".text")).toHaveText(first);
  await ask(page, vectors.conversation[1]!.text);
  const saved = await page.evaluate(() => localStorage.getItem("bitnet-onnx.conversation"));
  const { turns } = JSON.parse(saved!) as { turns: { replyIds: number[] }[] };
  expect(turns[1]!.replyIds).toEqual(vectors.conversation[1]!.ids.slice(0, -1));
});

test("settings are checked and kept; a new chat is empty and says what to try", async ({
  page,
  site,
}) => {
  await page.goto(site.url);
  await ready(page);
  const settings = page.getByRole("button", { name: "Settings" });
  const done = page.getByRole("button", { name: "Done" });
  await settings.click();
  await page.getByLabel("Draw at random").check();
  await page.getByLabel("Temperature").fill("-1");
  await done.click();
  await expect(page.locator("#settings")).toBeVisible();
  await page.getByRole("button", { name: "Restore defaults" }).click();
  await page.getByLabel("System prompt").fill("Be brief.");
  await done.click();
  await expect(page.locator("#settings")).toBeHidden();
  await page.getByRole("button", { name: "New chat" }).click();
  await page.getByRole("button", { name: "Reverse PAINT." }).click();
  await answered(page);
  const saved = await page.evaluate(() => localStorage.getItem("bitnet-onnx.conversation"));
  expect(JSON.parse(saved!)).toMatchObject({ system: "Be brief." });
  await page.getByRole("button", { name: "New chat" }).click();
  await expect(page.locator("#transcript li")).toHaveCount(0);
  await expect(page.locator("#welcome")).toBeVisible();
});
