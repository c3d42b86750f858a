/** Keyboard, screen reader and contrast, in every state of the page. */

import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { en } from "../../src/locales/en";
import { add, answer, decided, drawn, drawnWith, expect, material, open, overflows, show, test, withModel } from "./opened";

/** All of axe's rules, best practices too. */
async function violations(page: Page): Promise<string[]> {
  const found = await new AxeBuilder({ page }).analyze();
  return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(" ")} ${node.failureSummary}`));
}

test("axe finds nothing, in all states, light and dark, left to right and right to left", async ({ browser, site }) => {
  test.setTimeout(240_000); // six passes of all rules
  const context = await browser.newContext({ locale: "en", viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await context.route("**/model.onnx", async (route) => {
    await held;
    await route.continue();
  });
  await page.goto(site.url);
  expect(await violations(page)).toEqual([]); // empty, model loading
  const name = drawnWith(decided);
  await add(page, drawn(name), material("small.png"), material("cut.png"));
  await expect(answer(page)).toHaveAttribute("data-tone", "waiting");
  expect(await violations(page)).toEqual([]); // files wait for the model
  release();
  await expect(page.locator("#files-progress")).toHaveText(en.files.progress("3", "3"));
  for (const details of await page.locator("details").all()) await details.evaluate((one: HTMLDetailsElement) => (one.open = true));
  for (const file of ["cut.png", "small.png", name]) {
    await show(page, file);
    expect(await violations(page)).toEqual([]);
  }
  await page.locator("#theme").selectOption("dark");
  expect(await violations(page)).toEqual([]);
  await page.locator("#language").selectOption("fa");
  await show(page, "cut.png");
  expect(await violations(page)).toEqual([]);
  await context.close();
});

test("axe finds nothing where a model has several findings, light and dark, on a phone too", async ({ browser, site }) => {
  test.setTimeout(240_000);
  const context = await browser.newContext({ locale: "en", viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await withModel(context, "findings.onnx");
  await open(page, site.url);
  await add(page, drawn(drawnWith((one) => one.reasons.some(({ code }) => code === "uncertain-findings"), "findings.onnx")));
  await expect(answer(page).locator(".finding")).toHaveCount(3);
  for (const details of await page.locator("details").all()) await details.evaluate((one: HTMLDetailsElement) => (one.open = true));
  expect(await violations(page)).toEqual([]);
  await page.locator("#theme").selectOption("dark");
  expect(await violations(page)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await overflows(page)).toBe(false);
  expect(await violations(page)).toEqual([]);
  await context.close();
});

test("an uncertain result lists the possible classes and the requirements of a decision, without violations", async ({ browser, site }) => {
  const context = await browser.newContext({ locale: "en", viewport: { width: 320, height: 700 }, colorScheme: "dark" });
  const page = await context.newPage();
  await withModel(context, "unsure.onnx");
  await open(page, site.url);
  const name = drawnWith((one) => one.decision === "uncertain", "unsure.onnx");
  await add(page, drawn(name));
  await show(page, name);
  await expect(answer(page)).toHaveAttribute("data-tone", "uncertain");
  await expect(answer(page).locator(".decision")).toContainText(en.answer.uncertain);
  const possible = await answer(page).locator(".bar.possible").count();
  expect(possible).not.toBe(1);
  await expect(answer(page).locator(".why")).toContainText(possible ? "More than one class" : en.answer.whyNone);
  await expect(answer(page)).toContainText(en.answer.neededElse[2]!);
  // this model states neither figures nor thresholds: nothing is claimed in their place
  await expect(answer(page)).toContainText(en.probabilities.notMeasured);
  await expect(page.locator("#prevalence")).toHaveCount(0); // the test data's is not stated, so none can be set
  await expect(page.locator(".points")).toContainText(en.operatingPoints.absent);
  expect(await overflows(page)).toBe(false);
  expect(await violations(page)).toEqual([]);
  await context.close();
});

test("everything works by keyboard alone, and focus is always to be seen", async ({ emptied: page }) => {
  await page.locator("body").evaluate(() => (document.activeElement as HTMLElement).blur());
  const focused = (): Promise<string> =>
    page.evaluate(() => {
      const one = document.activeElement as HTMLElement;
      return one.id || one.getAttribute("aria-label") || one.textContent || one.tagName;
    });
  /** Press Tab until something is reached; everything on the way must show that it has the focus. */
  async function tabTo(wanted: (name: string) => boolean): Promise<void> {
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press("Tab");
      const outline = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement!);
        return document.activeElement === document.body ? "solid" : `${style.outlineStyle}`;
      });
      expect(outline).not.toBe("none");
      if (wanted(await focused())) return;
    }
    throw new Error("not reached with Tab");
  }
  const choosing = page.waitForEvent("filechooser"); // early: listening begins with a message to the browser
  await tabTo((name) => name === "choose");
  await page.keyboard.press("Enter");
  const chooser = await choosing;
  const name = drawnWith(decided);
  await chooser.setFiles([drawn(name), material("cut.png")]);
  await expect(page.locator("#files-progress")).toHaveText(en.files.progress("2", "2"));
  await expect(page.locator(".voice")).toContainText("cut.png"); // told to a screen reader
  await tabTo((text) => text.includes("cut.png") && text.includes(en.files.unreadable));
  await page.keyboard.press("Enter");
  await expect(answer(page)).toHaveAttribute("data-tone", "failed");
  for (let i = 0; i < 3; i++) await page.keyboard.press("Shift+Tab"); // past "remove" and "beside" of the one before
  await page.keyboard.press("Enter");
  await expect(answer(page)).toHaveAttribute("data-tone", "decided");
  await tabTo((text) => text.startsWith("X-ray"));
  const canvas = page.locator(".stage canvas");
  await page.keyboard.press("+");
  await expect(canvas).toHaveAttribute("data-zoom", "1.250");
  await page.keyboard.press("0");
  await expect(canvas).toHaveAttribute("data-zoom", "1.000");
  const before = await canvas.getAttribute("data-window");
  await page.keyboard.press("Shift+ArrowUp");
  await expect(canvas).not.toHaveAttribute("data-window", before!);
  await page.keyboard.press("i");
  const inverted = await canvas.getAttribute("data-inverted");
  await page.keyboard.press("r");
  await expect(canvas).toHaveAttribute("data-window", before!);
  await expect(canvas).not.toHaveAttribute("data-inverted", inverted!);
  await page.keyboard.down("h");
  await expect(canvas).toHaveAttribute("data-heatmap", /./);
  await page.keyboard.up("h");
  await expect(canvas).toHaveAttribute("data-heatmap", "");
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(canvas).toBeFocused();
  await tabTo((text) => text === "prevalence");
  const prevalence = await page.locator("output[for=prevalence]").textContent();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await expect(page.locator("output[for=prevalence]")).not.toHaveText(prevalence!);
  await tabTo((text) => text === en.operatingPoints.heading);
  await page.keyboard.press("Enter"); // unfolds it
  await tabTo((text) => text.startsWith("point-"));
  await page.keyboard.press("ArrowDown");
  await expect(page.getByRole("radio", { name: /Confirming/ })).toBeChecked();
  await tabTo((text) => text === en.report.save);
  await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
});
