/** Writes the list of built files, and a version made of their content, into the service worker. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

const WORKER = "service-worker.js";

export function buildList(publicFolder: string): Plugin {
  return {
    name: "build-list",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const worker = bundle[WORKER];
        if (worker?.type !== "chunk") throw new Error(`the build made no ${WORKER}`);
        const hash = createHash("sha256").update(worker.code);
        const files = ["./"];
        for (const [name, item] of Object.entries(bundle)) {
          if (name === WORKER) continue;
          hash.update(name).update(item.type === "chunk" ? item.code : item.source);
          if (name !== "index.html") files.push(name);
        }
        for (const name of readdirSync(publicFolder)) {
          hash.update(name).update(readFileSync(join(publicFolder, name)));
          files.push(name);
        }
        const build = JSON.stringify({ version: hash.digest("hex").slice(0, 16), files });
        worker.code = worker.code.replace("__BUILD__", () => build);
      },
    },
  };
}
