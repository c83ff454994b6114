/** Each test has a site, and with it an origin and a storage, of its own. */

import { test as base } from "@playwright/test";
import { artifact } from "../fixtures.ts";
import { Site } from "../site.ts";

export const test = base.extend<{ site: Site }>({
  site: async ({}, use) => {
    const site = new Site(artifact);
    await site.start();
    await use(site);
    await site.stop();
  },
});

export { expect } from "@playwright/test";
