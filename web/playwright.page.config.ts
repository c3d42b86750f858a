import { defineConfig } from "@playwright/test";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// The page as it is built, in a real browser. The core has a configuration of its own (playwright.config.ts).
export default defineConfig({
  testDir: "tests/page",
  testMatch: "**/*.page.test.ts",
  globalSetup: "./tests/page/prepare.ts",
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 20_000 },
  reporter: "list",
  outputDir: "test-results/page-failures",
  use: {
    browserName: "chromium",
    locale: "en-GB",
    serviceWorkers: "block", // saving 20 MB takes time; tests that are about it allow it
    launchOptions: { executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: FLAGS },
  },
});
