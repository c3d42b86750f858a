/** Threads that do not start, as on some phones: one thread answers instead. */

import { expect, test } from "@playwright/test";
import { BUNDLE, HARNESS, WEIGHTS } from "./prepare";
import { serve } from "./serving";

test("where threads cannot start, one thread is used", async ({ page }) => {
  let refused = 0;
  const serving = await serve({
    folders: { "/model/": WEIGHTS, "/": HARNESS },
    isolated: true,
    intercept: (request, response) => {
      // the runtime's threads are workers made of its own glue code
      if (request.headers["sec-fetch-dest"] !== "worker" || !request.url?.includes("ort-wasm")) return false;
      refused++;
      response.writeHead(404).end();
      return true;
    },
  });
  await page.goto(`${serving.url}/index.html`);
  const threads = await page.evaluate(async (bundle) => {
    const { openEngine } = globalThis as never as { openEngine: typeof import("../../src/core/api").openEngine };
    const engine = await openEngine({ modelUrl: `/model/${bundle}`, threads: 2 });
    engine.close();
    return engine.threads;
  }, BUNDLE);
  await serving.close();
  expect(refused).toBeGreaterThan(0);
  expect(threads).toBe(1);
});
