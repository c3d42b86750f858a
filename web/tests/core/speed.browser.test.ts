/**
 * How long the first and the next answer take; printed, not asserted: machines differ, and are busy with other things.
 *
 * The processor time of all the browser's processes is less shaken by those than the time on the clock.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, type BrowserContext } from "@playwright/test";
import { BUNDLE, HARNESS, SCRATCH, WEIGHTS } from "./prepare";
import { serve } from "./serving";

const ROUNDS = 8;
const XRAY = [join(process.env["POCKETCXR_DATA"] ?? "", "full_size/00870a9c.jpg"), join(SCRATCH, "files/large.jpg")];

/** Seconds of processor time that this process's descendants, the browser's among them, have used; NaN off Linux. */
function processorSeconds(): number {
  if (!existsSync("/proc/self/stat")) return NaN;
  const parents = new Map<number, number>();
  const ticks = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ").map(Number); // from field 3 on
      parents.set(Number(name), fields[1]!);
      ticks.set(Number(name), fields[11]! + fields[12]!);
    } catch {
      continue; // it has ended
    }
  }
  const ours = (pid: number): boolean => pid === process.pid || (pid > 1 && ours(parents.get(pid) ?? 0));
  return [...ticks].filter(([pid]) => pid !== process.pid && ours(pid)).reduce((sum, [, used]) => sum + used, 0) / 100;
}

/** Times of ONNX Runtime alone with the same model: its first run from an empty cache, and the runs after it. */
async function runtimeAlone(context: BrowserContext, url: string, threads: number): Promise<{ first: number; next: number[] }> {
  const page = await context.newPage();
  await page.goto(`${url}/index.html`);
  const found = await page.evaluate(
    (options) => (globalThis as never as { runtimeAlone(given: typeof options): Promise<{ first: number; next: number[] }> }).runtimeAlone(options),
    { modelUrl: `/model/${BUNDLE}`, threads, rounds: ROUNDS },
  );
  await context.close();
  return found;
}

for (const isolated of [false, true]) {
  test(`times of a full-size JPEG, ${isolated ? "several threads" : "one thread"}`, async ({ browser }) => {
    const serving = await serve({ folders: { "/model/": WEIGHTS, "/": HARNESS }, isolated });
    const context = await browser.newContext(); // an empty cache
    const page = await context.newPage();
    const bytes = readFileSync(XRAY.find(existsSync)!).toString("base64");
    await page.goto(`${serving.url}/index.html`);
    await page.evaluate((base64) => { // before the counting begins: a page gets a file without such detours
      Object.assign(globalThis, { file: Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer });
    }, bytes);
    const clock: { first: number; next: number[]; read: number[] } = { first: 0, next: [], read: [] };
    const answer = (): Promise<{ open: number; whole: number; read: number; threads: number }> =>
      page.evaluate(async (bundle) => {
        const scope = globalThis as never as {
          openEngine: typeof import("../../src/core/api").openEngine;
          engine?: import("../../src/core/api").Engine;
          file: ArrayBuffer;
        };
        const start = performance.now();
        const engine = (scope.engine ??= await scope.openEngine({ modelUrl: `/model/${bundle}` }));
        const open = performance.now() - start;
        const { milliseconds } = await engine.predict(await engine.read("image.jpg", scope.file.slice(0)));
        return { open, whole: performance.now() - start, read: milliseconds.read, threads: engine.threads };
      }, BUNDLE);
    const used = [processorSeconds()];
    const first = await answer();
    used.push(processorSeconds());
    clock.first = first.whole;
    for (let round = 0; round < ROUNDS; round++) {
      const { whole, read } = await answer();
      clock.next.push(whole);
      clock.read.push(read);
    }
    used.push(processorSeconds());
    await context.close();
    const alone = await runtimeAlone(await browser.newContext(), serving.url, first.threads); // an empty cache again
    await serving.close();
    const middle = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1]!;
    const ms = (value: number): string => `${value.toFixed(0)} ms`;
    const spent = [used[1]! - used[0]!, (used[2]! - used[1]!) / ROUNDS].map((seconds) => ms(seconds * 1000));
    console.log(
      `${first.threads} thread(s), empty cache: first answer ${ms(clock.first)} (processor ${spent[0]}), ` +
        `of which model and runtime ${ms(first.open)}; next ${ms(middle(clock.next))} (processor ${spent[1]}), of which reading ` +
        ms(middle(clock.read)),
    );
    const ratio = (ours: number, floor: number): string => (ours / floor).toFixed(2);
    console.log(
      `  against the bare runtime in the same browser, without any image: first ${ms(alone.first)} (${ratio(clock.first, alone.first)} times), ` +
        `next ${ms(middle(alone.next))} (${ratio(middle(clock.next), middle(alone.next))} times)`,
    );
    expect([clock.next.length, alone.next.length]).toEqual([ROUNDS, ROUNDS]);
  });
}
