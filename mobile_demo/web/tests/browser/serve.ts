/** Each test has its own site, and with it an origin and a storage. */

import { test as base } from "@playwright/test";
import { artifact } from "../fixtures.ts";
import { Server, Site } from "../site.ts";

export const test = base.extend<{ site: Site }, { server: Server }>({
  server: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads what a fixture depends on here
    async ({}, use) => {
      const server = new Server(artifact);
      await server.start();
      await use(server);
      server.stop();
    },
    { scope: "worker" },
  ],
  site: async ({ server }, use) => {
    const site = new Site(server);
    await site.start();
    await use(site);
    site.offline();
    server.mend();
  },
});

export { expect } from "@playwright/test";
