/** What a person does on the page. */

import { expect, type Locator, type Page } from "@playwright/test";

export function message(page: Page): Locator {
  return page.getByLabel("Message", { exact: true });
}

export function lastAnswer(page: Page): Locator {
  return page.locator("#transcript .model").last();
}

export async function ready(page: Page): Promise<void> {
  await expect(page.locator("#status")).toContainText("MB memory");
}

/** Types, sends, waits for the end of the answer. */
export async function ask(page: Page, text: string): Promise<string> {
  await message(page).pressSequentially(text);
  await page.keyboard.press("Enter");
  return answered(page);
}

export async function answered(page: Page): Promise<string> {
  await expect(lastAnswer(page).locator(".note")).toContainText("first token");
  return (await lastAnswer(page).locator(".text").innerText()).trim();
}

/** Settings with which the model babbles on until the context is full. */
export async function babble(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Draw at random").check();
  await page.getByLabel("Temperature").fill("9");
  await page.getByLabel("Top k").fill("0");
  await page.getByLabel("Seed").fill("4");
  await page.getByRole("button", { name: "Done" }).click();
}
