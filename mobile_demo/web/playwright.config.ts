/** The page in Debian's Chromium, on the screen of a phone. `CHROMIUM` names another browser. */

import { defineConfig } from "@playwright/test";

export default defineConfig({
  testDir: "tests/browser",
  outputDir: "test-results",
  workers: 1, // the model takes all cores
  timeout: 300_000,
  expect: { timeout: 120_000 }, // other work on the machine may stop a browser for a while
  reporter: "list",
  use: {
    viewport: { width: 360, height: 800 },
    deviceScaleFactor: 2,
    hasTouch: true,
    isMobile: true,
    launchOptions: {
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    },
  },
});
