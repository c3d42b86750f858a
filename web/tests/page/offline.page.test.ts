/** Without a network, with broken downloads, with new versions, with and without threads. */

import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { tableOf } from "../../scripts/offline-plugin";
import { en } from "../../src/locales/en";
import { add, answer, decided, drawn, drawnWith, expect, material, open, test } from "./opened";
import { BUILT, SCRATCH } from "./prepare";
import { Site } from "./site";

/** A copy of the site that a test may change; the table of its service worker is written anew. */
function copied(name: string, change: (folder: string) => void = () => undefined): string {
  const folder = join(SCRATCH, name);
  rmSync(folder, { recursive: true, force: true });
  cpSync(BUILT, folder, { recursive: true });
  const before = tableOf(folder);
  change(folder);
  const worker = join(folder, "service-worker.js");
  writeFileSync(worker, readFileSync(worker, "utf8").replace(before, () => tableOf(folder)));
  return folder;
}

async function saved(page: Page): Promise<void> {
  await expect(page.locator("html")).toHaveAttribute("data-offline", "ready", { timeout: 40_000 });
}

async function answers(page: Page): Promise<void> {
  await add(page, drawn(drawnWith(decided)));
  await expect(answer(page)).toHaveAttribute("data-tone", "decided");
}

test("after one visit it works with the server gone, and then with threads", async ({ browser }) => {
  const site = await new Site(BUILT).start();
  const context = await browser.newContext({ locale: "en", serviceWorkers: "allow" });
  const page = await context.newPage();
  await open(page, site.url);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(false); // a static host without headers
  await expect(page.locator("[data-threads]")).toHaveAttribute("data-threads", "1");
  await answers(page);
  await saved(page);
  const session = await context.newCDPSession(page);
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  expect(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito")).toEqual([]); // as tests always are
  await site.stop();
  await page.reload();
  await expect(page.locator(".model")).toHaveAttribute("data-state", "ready");
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true); // the service worker adds the headers
  const cores = await page.evaluate(() => navigator.hardwareConcurrency);
  await expect(page.locator("[data-threads]")).toHaveAttribute("data-threads", String(Math.min(4, cores)));
  await answers(page);
  await page.locator("#example").click();
  await expect(page.locator(".file")).toHaveCount(2);
  await context.close();
});

test("a new model is announced, waits for the user, and then answers", async ({ browser }) => {
  const folder = copied("update");
  const site = await new Site(folder).start();
  const context = await browser.newContext({ locale: "en", serviceWorkers: "allow" });
  const page = await context.newPage();
  await open(page, site.url);
  await saved(page);
  await page.reload(); // now served by the service worker
  await open(page, site.url);
  const before = await page.locator(".model").textContent();
  site.folder = copied("update-next", (copy) => copyFileSync(material("next.onnx"), join(copy, "model.onnx")));
  await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.update());
  await expect(page.locator(".notice")).toContainText(en.offline.updateModel("pocketcxr covid-3class 0.2.0"), { timeout: 40_000 });
  await expect(page.locator(".model")).toHaveText(before!); // the old one goes on until the user says so
  await answers(page);
  await page.getByRole("button", { name: en.offline.reload }).click();
  await expect(page.locator(".model")).toContainText("0.2.0", { timeout: 40_000 });
  await expect(page.locator(".warning")).toBeHidden(); // this one passed its audit
  await answers(page);
  const kept = await page.evaluate(async () => {
    const names = await caches.keys();
    const requests = await Promise.all(names.map(async (name) => (await (await caches.open(name)).keys()).map((one) => one.url)));
    return requests.flat().filter((url) => url.includes("model.onnx"));
  });
  expect(kept).toHaveLength(1); // nothing of the old version is left
  await site.stop();
  await context.close();
});

test("an interrupted download heals: of the model, and of the files for offline use", async ({ browser }) => {
  const site = new Site(BUILT);
  let cut = 2;
  let [broken, refused] = [true, 0];
  site.handler = (path, response) => {
    if (path === "/model.onnx" && cut > 0) {
      cut -= 1;
      response.writeHead(200, { "Content-Length": "4000000", "Content-Type": "application/octet-stream" });
      response.write(Buffer.alloc(100_000));
      setTimeout(() => response.destroy(), 50);
      return true;
    }
    if (path === "/icon-512.png" && broken) {
      refused += 1;
      response.writeHead(200, { "Content-Length": "20000", "Content-Type": "image/png" });
      response.write(Buffer.alloc(1000));
      setTimeout(() => response.destroy(), 50); // the line breaks while the service worker saves the files
      return true;
    }
    return false;
  };
  await site.start();
  const context = await browser.newContext({ locale: "en", serviceWorkers: "allow" });
  const page = await context.newPage();
  await open(page, site.url);
  expect(cut).toBe(0);
  await answers(page);
  await expect(async () => expect(refused).toBeGreaterThan(0)).toPass();
  expect(await page.locator("html").getAttribute("data-offline")).toBeNull(); // half of the files is no offline copy
  broken = false;
  await expect(async () => {
    await page.evaluate(() => globalThis.dispatchEvent(new Event("online")));
    await expect(page.locator("html")).toHaveAttribute("data-offline", "ready", { timeout: 3000 });
  }).toPass();
  const asked = new Map<string, number>();
  for (const { path } of site.noted) asked.set(path, (asked.get(path) ?? 0) + 1);
  // what was saved before the line broke is not fetched again: once by the page, once by the worker at most
  for (const [path, times] of asked) if (path < "/icon-512.png" && path !== "/") expect([path, times <= 2]).toEqual([path, true]);
  await site.stop();
  await page.reload();
  await expect(page.locator(".model")).toHaveAttribute("data-state", "ready");
  await context.close();
});

test("a model that cannot be had is said plainly, files wait, and a retry answers them", async ({ browser }) => {
  const site = new Site(BUILT);
  let missing = true;
  site.handler = (path, response) => {
    if (path !== "/model.onnx" || !missing) return false;
    response.writeHead(404).end();
    return true;
  };
  await site.start();
  const context = await browser.newContext({ locale: "en" });
  const page = await context.newPage();
  await page.goto(site.url);
  await expect(page.locator(".model")).toContainText(en.model.failed);
  await add(page, drawn(drawnWith(decided)));
  await expect(answer(page)).toHaveAttribute("data-tone", "waiting");
  missing = false;
  await page.getByRole("button", { name: en.model.retry }).click();
  await expect(answer(page)).toHaveAttribute("data-tone", "decided", { timeout: 40_000 });
  await site.stop();
  await context.close();
});

test("with the host's own headers it has threads on the first visit", async ({ browser }) => {
  const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  const site = await new Site(BUILT, headers).start();
  const context = await browser.newContext({ locale: "en" });
  const page = await context.newPage();
  await open(page, site.url);
  const cores = await page.evaluate(() => navigator.hardwareConcurrency);
  await expect(page.locator("[data-threads]")).toHaveAttribute("data-threads", String(Math.min(4, cores)));
  await answers(page);
  await site.stop();
  await context.close();
});
