/** axe-core on the main states, light and dark, phone and desktop: no violations. */

import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import type * as Axe from "axe-core";
import { ask, ready } from "./person.ts";
import { expect, test } from "./serve.ts";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
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

for (const [screen, viewport] of Object.entries(SCREENS)) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`${screen}, ${colorScheme}`, async ({ page, site }) => {
      const shot = async (state: string) => {
        const folder = process.env["BITNET_ONNX_SCREENSHOTS"];
        if (folder)
          await page.screenshot({ path: `${folder}/${screen}-${colorScheme}-${state}.png` });
        expect(await violations(page), state).toEqual([]);
      };
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.addInitScript({ path: AXE });
      site.replaced.set("manifest.json", (text) =>
        text.replace('"format_version": 1', '"format_version": 9'),
      );
      await page.goto(site.url);
      await expect(page.getByRole("alert").filter({ hasText: "format_version" })).toBeVisible();
      await shot("failure");
      site.replaced.clear();
      await page.reload();
      await ready(page);
      await shot("ready");
      await ask(page, "Clara has 51 pears and buys 4 more. How many pears does Clara have?");
      await ask(page, "Reverse PAINT.");
      await shot("answers");
      await page.getByRole("button", { name: "Settings" }).click();
      await shot("settings");
    });
  }
}
