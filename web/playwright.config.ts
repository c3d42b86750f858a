import { defineConfig } from "@playwright/test";

export default defineConfig({
  testDir: "tests",
  testMatch: "**/*.browser.test.ts",
  globalSetup: "./tests/core/prepare.ts",
  workers: 1,
  timeout: 60_000,
  reporter: "list",
  outputDir: "test-results/playwright",
  use: {
    browserName: "chromium",
    launchOptions: { executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: ["--no-sandbox"] },
  },
});
