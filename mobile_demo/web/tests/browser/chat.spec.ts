/** The page as a person uses it. */

import type { Page } from "@playwright/test";
import { cases } from "../fixtures.ts";
import { expect, test } from "./serve.ts";

const LONG = "Ben has 84 stamps and buys 5 more. How many stamps does Ben have?";

export async function ready(page: Page): Promise<void> {
  await expect(page.locator("#status")).toContainText("of memory");
}

export async function ask(page: Page, text: string): Promise<string> {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator("#transcript .model").last();
  await expect(answer.locator(".note")).toContainText("first token");
  return answer.locator(".text").innerText();
}

test("answers three typed questions, as Python does", async ({ page, site }) => {
  await page.goto(site.url);
  await ready(page);
  for (const { question, text } of cases.questions.slice(0, 3)) {
    await page.getByRole("button", { name: "New chat" }).click();
    await page.getByLabel("Message", { exact: true }).pressSequentially(question);
    await page.keyboard.press("Enter");
    const answer = page.locator("#transcript .model").last();
    await expect(answer.locator(".note")).toContainText("first token");
    expect((await answer.locator(".text").innerText()).trim()).toBe(text.trim());
  }
});
