/** Each failure ends in a sentence on the page and a way out that works. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cases } from "../fixtures.ts";
import type { Site } from "../site.ts";
import { ask, message, ready } from "./person.ts";
import { expect, test } from "./serve.ts";

const DATA = "model.onnx_data";
const { question, text } = cases.questions[0]!;

function damage(site: Site, change: (bytes: Buffer) => Buffer): void {
  const file = join(site.server.artifact, DATA);
  writeFileSync(file, change(readFileSync(file)));
}

test("corrupted weights", async ({ page, site }) => {
  damage(site, (bytes) => bytes.fill(7, 1000, 1100));
  await page.goto(site.url);
  const alert = page.getByRole("alert").filter({ hasText: "is corrupt" });
  await expect(alert).toContainText("its sha256 differs from the manifest's");
  site.server.mend();
  await alert.getByRole("button", { name: "Download again" }).click();
  await ready(page);
  expect(await ask(page, question)).toBe(text.trim());
});

test("weights that are damaged in the browser's storage are fetched again", async ({
  page,
  site,
}) => {
  await page.goto(site.url);
  await ready(page);
  await page.evaluate(async () => {
    const cache = await caches.open("bitnet-onnx-weights");
    for (const request of await cache.keys()) {
      const bytes = new Uint8Array(await (await cache.match(request))!.arrayBuffer());
      if (bytes.length > 1e6) await cache.put(request, new Response(bytes.fill(3, 500, 600)));
    }
  });
  await page.reload();
  await ready(page);
  expect(await ask(page, question)).toBe(text.trim());
});

test("a download that keeps breaking off, and then once more", async ({ page, site }) => {
  site.cut = { name: DATA, after: 200_000, times: 3 };
  await page.goto(site.url);
  const alert = page.getByRole("alert").filter({ hasText: "broke off" });
  await expect(alert).toContainText("what has arrived is kept");
  site.cut = { name: DATA, after: 200_000, times: 1 };
  await alert.getByRole("button", { name: "Try again" }).click();
  await ready(page);
  expect(site.requests.filter((url) => url.endsWith(DATA))).toHaveLength(5);
  expect(await ask(page, question)).toBe(text.trim());
});

test("a file that is truncated on the server", async ({ page, site }) => {
  damage(site, (bytes) => bytes.subarray(0, 700_000));
  await page.goto(site.url);
  const alert = page.getByRole("alert").filter({ hasText: "shorter than" });
  await expect(alert).toBeVisible();
  site.server.mend();
  await alert.getByRole("button").click();
  await ready(page);
});

test("a manifest of an unknown version", async ({ page, site }) => {
  site.replaced.set("manifest.json", (text) =>
    text.replace('"format_version": 2', '"format_version": 3'),
  );
  await page.goto(site.url);
  const alert = page.getByRole("alert").filter({ hasText: "format_version" });
  await expect(alert).toContainText("format_version is 3, expected 1 to 2");
  site.replaced.clear();
  await alert.getByRole("button", { name: "Reload the page" }).click();
  await ready(page);
});

test("a full storage", async ({ page, site }) => {
  const devtools = await page.context().newCDPSession(page);
  const quota = (quotaSize: number) =>
    devtools.send("Storage.overrideQuotaForOrigin", {
      origin: new URL(site.url).origin,
      quotaSize,
    });
  await quota(300_000);
  await page.goto(site.url);
  const notice = page.getByRole("status").filter({ hasText: "storage for this page is full" });
  await expect(notice).toBeVisible();
  expect(await ask(page, question)).toBe(text.trim());
  await quota(1e9);
  await notice.getByRole("button", { name: "Store again" }).click();
  await expect(page.locator("#loading-text")).toContainText("stored");
  await expect(notice).toBeHidden();
});

test("no threads", async ({ page, site }) => {
  site.isolated = false;
  await page.goto(site.url);
  const notice = page.getByRole("status").filter({ hasText: "Threads are not available" });
  await notice.getByRole("button", { name: "Continue" }).click();
  await ready(page);
  expect(await ask(page, question)).toBe(text.trim());
});

test("a prompt longer than the context", async ({ page, site }) => {
  await page.goto(site.url);
  await ready(page);
  const long = "1 2 3 4 ".repeat(200).trim();
  await message(page).fill(long);
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByRole("alert")).toContainText("expected at most the context of 512");
  await expect(message(page)).toHaveValue(long);
  await message(page).fill("");
  expect(await ask(page, question)).toBe(text.trim());
});

test("no model on the server", async ({ page, site }) => {
  site.replaced.set("manifest.json", () => "<!doctype html>");
  await page.goto(site.url);
  await expect(page.getByRole("alert").filter({ hasText: "not JSON" })).toBeVisible();
});
