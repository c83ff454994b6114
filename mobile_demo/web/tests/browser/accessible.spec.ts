/** axe-core on the main states, each on a phone and a desktop, light and dark. */

import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import type * as Axe from "axe-core";
import { ask, ready } from "./person.ts";
import { expect, test } from "./serve.ts";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const PICTURES = process.env["BITNET_ONNX_SCREENSHOTS"];
const SCREENS = { phone: { width: 360, height: 800 }, desktop: { width: 1280, height: 800 } };

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(async () => {
    // Colours are compared when they have settled.
    await Promise.all(document.getAnimations().map((animation) => animation.finished));
  });
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: typeof Axe }).axe.run({ resultTypes: ["violations"] }),
  );
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

test("the main states have no violations", async ({ page, site }) => {
  const check = async (state: string) => {
    for (const [screen, viewport] of Object.entries(SCREENS)) {
      for (const colorScheme of ["light", "dark"] as const) {
        await page.setViewportSize(viewport);
        await page.emulateMedia({ colorScheme });
        const name = `${screen}-${colorScheme}-${state}`;
        if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png` });
        expect(await violations(page), name).toEqual([]);
      }
    }
  };
  await page.addInitScript({ path: AXE });
  site.replaced.set("manifest.json", (text) =>
    text.replace('"format_version": 2', '"format_version": 9'),
  );
  await page.goto(site.url);
  await expect(page.getByRole("alert").filter({ hasText: "format_version" })).toBeVisible();
  await check("failure");
  site.replaced.clear();
  await page.reload();
  await ready(page);
  await check("ready");
  await ask(page, "Clara has 51 pears and buys 4 more. How many pears does Clara have?");
  await ask(page, "Reverse PAINT.");
  await check("answers");
  await page.getByRole("button", { name: "Settings" }).click();
  await check("settings");
});
