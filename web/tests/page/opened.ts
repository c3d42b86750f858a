/** The page, opened from a static site, with the words that tests use for what a person does. */

import { test as base, expect, type BrowserContext, type Locator, type Page } from "@playwright/test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { answers, BUILT, DRAWN, MATERIAL, type Answer } from "./prepare";
import { Site } from "./site";

export { expect };

let used = ""; // the file whose tests used the shared page last

/**
 * `site`: the built page on a static host. `shared`: one open page for all tests of a file that need none of their own,
 * for starting the runtime takes longer than most of them; it is emptied between tests and opened anew for the next file.
 */
export const test = base.extend<{ emptied: Page }, { site: Site; shared: Page }>({
  site: [
    async ({}, use) => {
      const site = await new Site(BUILT).start();
      await use(site);
      await site.stop();
    },
    { scope: "worker" },
  ],
  shared: [
    async ({ browser, site }, use) => {
      const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1280, height: 900 } });
      const page = await context.newPage();
      await open(page, site.url);
      await use(page);
      await context.close();
    },
    { scope: "worker" },
  ],
  emptied: async ({ shared, site }, use, { file }) => {
    if (used !== "" && used !== file) { // what was set and typed there is not for this file's tests
      await shared.evaluate(() => localStorage.clear());
      await open(shared, site.url);
    }
    used = file;
    await shared.locator("#language").selectOption("en");
    const all = shared.locator(".remove-all");
    if (await all.isVisible()) await all.click();
    await use(shared);
  },
});

export const drawn = (name: string): string => join(DRAWN, name);
export const material = (name: string): string => join(MATERIAL, name);

/** First drawn file that Python decided so. */
export function drawnWith(fits: (answer: Answer, name: string) => boolean, bundle = "covid-3class.onnx"): string {
  const all = answers()[bundle]!;
  const name = readdirSync(DRAWN).sort().find((one) => fits(all[one]!, one));
  if (!name) throw new Error("no drawn picture with such an answer; draw more in page_material.py");
  return name;
}

export const decided = (answer: Answer): boolean => !["uncertain", "refused", "error"].includes(answer.decision);

export async function open(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await expect(page.locator(".model")).toHaveAttribute("data-state", "ready", { timeout: 50_000 }); // a busy machine compiles slowly
}

export async function add(page: Page, ...files: string[]): Promise<void> {
  await page.locator("input[type=file][multiple]").setInputFiles(files);
}

export function answer(page: Page): Locator {
  return page.locator("#answer");
}

/** On a narrow screen, show a part of the page; wide ones show all. */
export async function openTab(page: Page, name: "result" | "files" | "display" | "points" | "report" | "about"): Promise<void> {
  const tab = page.locator(`#tab-${name}`);
  if (await tab.isVisible()) await tab.click();
}

/** Choose a file of the list and wait for its answer. */
export async function show(page: Page, name: string): Promise<void> {
  await openTab(page, "files");
  await page.locator(".file", { hasText: name }).click();
  await expect(answer(page).locator(".for")).toHaveText(name);
  await expect(answer(page)).not.toHaveAttribute("data-tone", "waiting");
}

/** Put another model in the place of the site's own. */
export async function withModel(context: BrowserContext, name: string): Promise<void> {
  await context.route("**/model.onnx", (route) => route.fulfill({ path: material(name), contentType: "application/octet-stream" }));
}

/** Whether anything of the page stands out of the window sideways. */
export async function overflows(page: Page): Promise<boolean> {
  return page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
}
