/** With the network off, and when a newer page is there. */

import type { Page } from "@playwright/test";
import { cases } from "../fixtures.ts";
import { ask, ready } from "./person.ts";
import { expect, test } from "./serve.ts";

const [first] = cases.questions;

async function stored(page: Page): Promise<void> {
  await page.evaluate(async () => void (await navigator.serviceWorker.ready));
}

test("answers after a reload with the network off, with threads", async ({ page, site }) => {
  await page.goto(site.url);
  await ready(page);
  await stored(page);
  site.offline();
  await page.reload();
  await ready(page);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  expect(await ask(page, first!.question)).toBe(first!.text.trim());
});

test("a newer page is offered, and taken when the person says so", async ({ page, site }) => {
  await page.goto(site.url);
  await ready(page);
  await stored(page);
  site.replaced.set("service-worker.js", (text) => `${text}// newer`);
  await page.reload();
  await expect(page.getByText("A newer version of this page is ready.")).toBeVisible();
  const reloaded = page.waitForEvent("load");
  await page.getByRole("button", { name: "Reload" }).click();
  await reloaded;
  await ready(page);
  await expect(page.getByText("A newer version of this page is ready.")).toBeHidden();
});
