/**
 * Serves the current folder, runs its page.mjs in Chromium, and writes to stdout what that logs.
 *
 * node browser.mjs FOLDER_WITH_PLAYWRIGHT CHROMIUM
 */

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";

const [playwright, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(join(playwright, "package.json"))("@playwright/test");

const TYPES = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript" };
const PAGE = `<!doctype html>
<script type="importmap">
  {"imports": {"@huggingface/transformers": "/node_modules/@huggingface/transformers/dist/transformers.js"}}
</script>
<script type="module">
  await import("/page.mjs").catch((error) => console.log(String(error)));
  document.title = "done";
</script>`;

const server = createServer((request, response) => {
  const path = new URL(request.url, "http://here").pathname;
  const headers = {
    "Content-Type": TYPES[path === "/" ? ".html" : extname(path)] ?? "application/octet-stream",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
  };
  if (path === "/") return response.writeHead(200, headers).end(PAGE);
  const file = join(".", path);
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return response.writeHead(404).end();
  createReadStream(file).pipe(response.writeHead(200, headers));
}).listen(0, "localhost");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
page.on("console", (message) => message.type() === "log" && console.log(message.text()));
await page.goto(`http://localhost:${server.address().port}/`);
await page.waitForFunction(() => document.title === "done", undefined, { timeout: 600_000 });
await browser.close();
server.close();
