/** `licences.txt`: the licences of the packages that are built into the page. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

// It has no licence file; its code says that it is under MIT.
const SAID_IN_CODE: Record<string, string> = {
  "onnxruntime-web": "Copyright (c) Microsoft Corporation. All rights reserved.",
};

interface Package {
  version: string;
  license: string;
}

export function licences(folder: string): Plugin {
  const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const texts = Object.keys(dependencies).map((name) => {
    const root = join(import.meta.dirname, "node_modules", name);
    const about = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Package;
    const holder = SAID_IN_CODE[name];
    const text = holder === undefined ? readFileSync(join(root, "LICENSE"), "utf8") : mit(holder);
    return `${name} ${about.version}, ${about.license}\n\n${text.trim()}\n`;
  });
  return {
    name: "licences",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join("\n\n") });
    },
  };
}

/** The text of this repository's licence, with another holder. */
function mit(holder: string): string {
  const ours = readFileSync(join(import.meta.dirname, "../../LICENSE"), "utf8");
  return ours.replace(/^Copyright.*$/m, holder);
}
