/** How long the first and the next answer take; printed, not judged: machines differ. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { BUNDLE, HARNESS, SCRATCH, WEIGHTS } from "./prepare";
import { serve } from "./serving";

const FILM = [join(process.env["POCKETCXR_DATA"] ?? "", "full_size/00870a9c.jpg"), join(SCRATCH, "files/large.jpg")];

for (const isolated of [false, true]) {
  test(`times of a full-size JPEG, ${isolated ? "several threads" : "one thread"}`, async ({ browser }) => {
    const serving = await serve({ folders: { "/model/": WEIGHTS, "/": HARNESS }, isolated });
    const context = await browser.newContext(); // an empty cache
    const page = await context.newPage();
    const bytes = readFileSync(FILM.find(existsSync)!).toString("base64");
    await page.goto(`${serving.url}/index.html`);
    const times = await page.evaluate(
      async ({ base64, bundle }) => {
        const { openEngine } = globalThis as never as { openEngine: typeof import("../../src/core/api").openEngine };
        const film = (): ArrayBuffer => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
        const files = Array.from({ length: 6 }, film);
        const begin = performance.now();
        const engine = await openEngine({ modelUrl: `/model/${bundle}` });
        const open = performance.now() - begin;
        const answers: { whole: number; read: number; predict: number }[] = [];
        for (const file of files) {
          const start = performance.now();
          const { milliseconds } = await engine.predict(await engine.read("film.jpg", file));
          answers.push({ whole: performance.now() - start, ...milliseconds });
        }
        return { threads: engine.threads, loaded: begin, open, answers };
      },
      { base64: bytes, bundle: BUNDLE },
    );
    await context.close();
    await serving.close();
    const [first, ...next] = times.answers;
    const sorted = next.sort((a, b) => a.whole - b.whole);
    const usual = sorted[sorted.length >> 1]!;
    const ms = (value: number): string => `${value.toFixed(0)} ms`;
    console.log(
      `${times.threads} thread(s): page ${ms(times.loaded)}, model and runtime ${ms(times.open)}, first picture ` +
        `${ms(first!.whole)}; first answer ${ms(times.open + first!.whole)} after an empty cache; ` +
        `next ${ms(usual.whole)} (reading ${ms(usual.read)}, network ${ms(usual.predict)})`,
    );
    expect(times.answers).toHaveLength(6);
  });
}
