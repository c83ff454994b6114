/** Start, prefill, decode and memory in Chromium; the columns take turns. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium, type Page, test } from "@playwright/test";
import type * as Engine from "../../src/engine.ts";
import { Server, Site } from "../site.ts";

interface Plan {
  folder: string;
  runs: number;
  threads: number[];
}

interface Figures {
  load_seconds: number;
  first_token_seconds: number;
  prefill: number;
  decode: number;
  memory: number;
}

function figures(page: Page, url: string, threads: number): Promise<Figures> {
  return page.evaluate(
    async ({ url, threads }) => {
      const { RemoteEngine } = (await import(`${url}engine.js`)) as typeof Engine;
      const engine = new RemoteEngine();
      const start = performance.now();
      await engine.load(`${url}model/`, { threads });
      const load_seconds = (performance.now() - start) / 1000;
      const prompt = (count: number) =>
        Array.from({ length: count }, (_, place) => 4 + ((place * 37) % 800));
      const first = await engine.generate(prompt(24), { max_new_tokens: 1 });
      const long = await engine.generate(prompt(128), { max_new_tokens: 129 });
      if (long.ids.length !== 129) throw new Error(`${long.ids.length} tokens instead of 129`);
      return {
        load_seconds,
        first_token_seconds: first.prefillSeconds,
        prefill: 128 / long.prefillSeconds,
        decode: 128 / long.decodeSeconds,
        memory: long.memory / 1e6,
      };
    },
    { url, threads },
  );
}

test("figures", async () => {
  const { folder, runs, threads } = JSON.parse(process.env["BITNET_ONNX_MEASURE"]!) as Plan;
  const found: Record<string, Figures[]> = {};
  const options = test.info().project.use.launchOptions ?? {};
  for (const name of ["bundled", "random"]) {
    const server = new Server(join(folder, name));
    await server.start();
    const site = new Site(server);
    await site.start();
    const browser = await chromium.launch(options);
    const context = await browser.newContext();
    // The first visit stores the weights.
    for (let run = 0; run <= runs; run++) {
      for (const count of threads) {
        const page = await context.newPage();
        await page.goto(`${site.url}model/config.json`);
        const figure = await figures(page, site.url, count);
        console.log(name, count, JSON.stringify(figure));
        const column = `${name}, ${count} ${count === 1 ? "thread" : "threads"}`;
        if (run > 0) found[column] = [...(found[column] ?? []), figure];
        await page.close();
      }
    }
    await browser.close();
    site.offline();
    server.stop();
  }
  writeFileSync(join(folder, "figures.json"), JSON.stringify(found));
});
