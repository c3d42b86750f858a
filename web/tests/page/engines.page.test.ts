/** The page from `pocketcxr serve` in Firefox and in WebKit, Safari's engine: offline copy, a second tab, one answer. */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import puppeteer, { type Browser, type ElementHandle, type Page } from "puppeteer-core";
import { decided, drawn, drawnWith, expect, test } from "./opened";
import { BUILT } from "./prepare";
import { packed, service } from "./service";
import { WebKit } from "./webkit";

const INPUT = "input[type=file][multiple]";
const READY = 'document.querySelector(".model")?.dataset.state === "ready"';
// One expression that both browsers keep up to date, because a test cannot wait for a promise in each of them alike.
const WATCH = `navigator.serviceWorker.getRegistration().then((one) => {
  const worker = one?.installing ?? one?.waiting ?? one?.active;
  document.documentElement.dataset.worker = worker?.state ?? "none";
})`;
const stateIs = (...states: string[]): string => `(${WATCH}, ${JSON.stringify(states)}.includes(document.documentElement.dataset.worker))`;
const MINUTE = 60_000;

interface Driven {
  open(url: string): Promise<unknown>;
  openTab(): Promise<void>;
  evaluate(expression: string): Promise<unknown>;
  give(selector: string, file: string): Promise<void>;
}

class Firefox implements Driven {
  constructor(
    readonly browser: Browser,
    private page: Page,
  ) {}

  open = (url: string): Promise<unknown> => this.page.goto(url, { timeout: 3 * MINUTE });
  evaluate = (expression: string): Promise<unknown> => this.page.evaluate(expression);
  async openTab(): Promise<void> {
    this.page = await this.browser.newPage();
  }
  async give(selector: string, file: string): Promise<void> {
    await ((await this.page.$(selector)) as ElementHandle<HTMLInputElement>).uploadFile(file);
  }
}

/** First visit, offline copy, second tab, one file. Waits are long: other work may keep the machine busy. */
async function visit(browser: Driven, url: string): Promise<void> {
  const holds = (expression: string, timeout = 4 * MINUTE): Promise<void> =>
    expect(async () => expect(await browser.evaluate(expression), expression).toBe(true)).toPass({ timeout });
  await browser.open(url);
  await holds(READY);
  expect(await browser.evaluate("crossOriginIsolated")).toBe(true);
  await holds(stateIs("activating", "activated"));
  // Firefox ends a worker that still activates after 60 s, and calls it activated; nothing sound takes as long.
  await holds(stateIs("activated"), 0.75 * MINUTE);
  await holds("navigator.serviceWorker.controller !== null"); // it serves this first visit too
  await browser.openTab();
  await browser.open(url);
  await holds(READY);
  await browser.give(INPUT, drawn(drawnWith(decided)));
  await holds('document.querySelector("#answer").dataset.tone === "decided"');
}

test("Firefox saves the page at once, opens it in a second tab, and answers", async () => {
  const executablePath = process.env["FIREFOX"] ?? "";
  test.skip(!executablePath, "no Firefox: web/scripts/browser.sh firefox");
  test.setTimeout(10 * MINUTE);
  const { process: server, url } = await service(packed());
  const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, timeout: 3 * MINUTE });
  try {
    await visit(new Firefox(browser, await browser.newPage()), url);
  } finally {
    await browser.close();
    server.kill();
  }
});

test("WebKit saves the page, opens it in a second tab, and answers", async () => {
  const driver = process.env["WEBKIT"] ?? "";
  test.skip(!driver, "no WebKitWebDriver: web/scripts/browser.sh webkit");
  test.setTimeout(15 * MINUTE); // it compiles the runtime slowly
  const { process: server, url } = await service(packed());
  const browser = await WebKit.start(driver);
  try {
    await visit(browser, url);
  } finally {
    await browser.close();
    server.kill();
  }
});

test("no file of the build imports the first file of the worker, which WebKit would then run twice", () => {
  const assets = join(BUILT, "assets");
  const scripts = readdirSync(assets).filter((name) => /\.m?js$/.test(name));
  const [worker, ...others] = scripts.filter((name) => name.startsWith("worker-"));
  expect([worker !== undefined, others]).toEqual([true, []]);
  const importers = scripts.filter((name) => new RegExp(`(from|import)\\s*\\(?["'\`]\\./${worker}`).test(readFileSync(join(assets, name), "utf8")));
  expect(importers).toEqual([]);
});
