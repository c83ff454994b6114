import { resolve } from "node:path";
import { defineConfig } from "vitest/config";
import { buildList } from "./build-list.ts";
import { licences } from "./licences.ts";

const here = import.meta.dirname;

export default defineConfig({
  base: "./", // the page may lie in any folder of a site
  resolve: {
    conditions: ["onnxruntime-web-use-extern-wasm", "browser", "module", "import", "default"],
  },
  worker: { format: "es" },
  plugins: [licences(resolve(here, "engine")), buildList(resolve(here, "public"))],
  build: {
    target: "es2022",
    outDir: resolve(here, "../../bitnet_onnx/web"),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
    rolldownOptions: {
      input: {
        index: resolve(here, "index.html"),
        engine: resolve(here, "src/engine.ts"),
        "service-worker": resolve(here, "src/service-worker.ts"),
      },
      // The engine keeps its name and exports: other pages import it.
      preserveEntrySignatures: "exports-only",
      output: {
        entryFileNames: ({ name }) => (name === "index" ? "assets/[name]-[hash].js" : `${name}.js`),
      },
    },
  },
  test: { include: ["tests/unit/**/*.test.ts"], testTimeout: 600_000 },
});
