/** The engine without the page: `engine.js`, imported by another page's script. */

import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import type * as Engine from "../../src/engine.ts";
import { cases } from "../fixtures.ts";
import { expect, test } from "./serve.ts";

const BUILD = resolve(import.meta.dirname, "../../../../bitnet_onnx/web");
const BUDGET = 300_000; // bytes of page code, compressed, without weights and WASM
const prompts = cases.questions.map(({ question }) => question);
if (prompts.length < 50) throw new Error(`${prompts.length} questions are too few`);

for (const threads of [1, 2]) {
  test(`gives Python's ids for ${prompts.length} prompts, threads: ${threads}`, async ({
    page,
    site,
  }) => {
    await page.goto(`${site.url}model/config.json`);
    const found = await page.evaluate(
      async ({ url, prompts, threads }) => {
        const { RemoteEngine } = (await import(`${url}engine.js`)) as typeof Engine;
        const engine = new RemoteEngine();
        const facts = await engine.load(`${url}model/`, { threads });
        const ids: number[][] = [];
        for (const content of prompts) {
          const answer = await engine.generate([{ role: "user", content }], { max_new_tokens: 32 });
          ids.push(answer.ids);
        }
        return { ids, threads: facts.threads };
      },
      { url: site.url, prompts, threads },
    );
    expect(found.threads).toBe(threads);
    expect(found.ids).toEqual(cases.questions.map(({ ids }) => ids));
  });
}

test("runs in the page's own thread too, and streams", async ({ page, site }) => {
  await page.goto(`${site.url}model/config.json`);
  const { question, ids, text } = cases.questions[0]!;
  const found = await page.evaluate(
    async ({ url, question }) => {
      const { loadModel } = (await import(`${url}engine.js`)) as typeof Engine;
      const model = await loadModel(`${url}model/`);
      const stream = model.generate([{ role: "user", content: question }], { max_new_tokens: 32 });
      const pieces: string[] = [];
      for await (const piece of stream) pieces.push(piece);
      return { ids: stream.result.ids, pieces };
    },
    { url: site.url, question },
  );
  expect(found.ids).toEqual(ids);
  expect(found.pieces.join("")).toBe(text);
});

test("the page's code keeps its budget", () => {
  const files = readdirSync(BUILD, { recursive: true, encoding: "utf8" });
  const code = files.filter((name) => /\.(html|js|mjs|css|svg|webmanifest)$/.test(name));
  const bytes = code.map((name) => gzipSync(readFileSync(join(BUILD, name))).length);
  const total = bytes.reduce((a, b) => a + b);
  console.log(`page code, compressed: ${total} bytes in ${code.length} files`);
  expect(total).toBeLessThanOrEqual(BUDGET);
});
