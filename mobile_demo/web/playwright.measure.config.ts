/** Figures instead of tests; `measure.py` runs it. */

import base from "./playwright.config.ts";

export default { ...base, testDir: "tests/measure", timeout: 0 };
