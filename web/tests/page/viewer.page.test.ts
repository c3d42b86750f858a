/** The viewer: heatmap while held, lengths, two images, full screen, and the image first on a phone. */

import type { Locator, Page } from "@playwright/test";
import { LANGUAGES } from "../../src/locales";
import { en } from "../../src/locales/en";
import { add, answer, decided, drawn, drawnWith, expect, material, open, openTab, overflows, show, test } from "./opened";
import { answers } from "./prepare";

const png = (): string => drawnWith((one, name) => decided(one) && name.endsWith(".png"));

async function drag(page: Page, canvas: Locator, [x1, y1]: [number, number], [x2, y2]: [number, number]): Promise<void> {
  const box = (await canvas.boundingBox())!;
  await page.mouse.move(box.x + x1 * box.width, box.y + y1 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + x2 * box.width, box.y + y2 * box.height, { steps: 3 });
  await page.mouse.up();
}

test("the heatmap is off, is shown while its button is held, and stays only where that is asked for", async ({ emptied: page }) => {
  await add(page, drawn(png()));
  const canvas = page.locator(".pane canvas");
  await expect(canvas).toHaveAttribute("data-heatmap", "");
  const button = page.getByRole("button", { name: en.heatmap.hold });
  await button.hover();
  await page.mouse.down();
  await expect(canvas).toHaveAttribute("data-heatmap", /./);
  await page.mouse.up();
  await expect(canvas).toHaveAttribute("data-heatmap", "");
  await button.focus();
  await page.keyboard.down("Space");
  await expect(canvas).toHaveAttribute("data-heatmap", /./);
  await page.keyboard.up("Space");
  await expect(canvas).toHaveAttribute("data-heatmap", "");
  await page.getByLabel(en.heatmap.show).check();
  await expect(page.locator(".pane figcaption")).toContainText(en.heatmap.heading);
  await page.getByLabel(en.heatmap.show).uncheck();
  await expect(canvas).toHaveAttribute("data-heatmap", "");
});

test("a length is in pixels or millimetres as the file allows, says which, and can be drawn by keyboard", async ({ emptied: page }) => {
  const files = ["plain.dcm", "detector.dcm", "calibrated.dcm"];
  await add(page, ...files.map(material));
  const measured: Record<string, number> = {};
  for (const [name, scale] of [["plain.dcm", en.viewer.scales.pixels], ["detector.dcm", en.viewer.scales.detector], ["calibrated.dcm", en.viewer.scales.calibrated]] as const) {
    await show(page, name);
    const canvas = page.locator(".pane canvas");
    await expect(canvas).toHaveAttribute("aria-label", new RegExp(name)); // the image comes after its answer
    await page.getByRole("button", { name: en.viewer.modes.measure }).click();
    await drag(page, canvas, [0.5, 0.3], [0.5, 0.7]); // straight down
    await expect(canvas).toHaveAttribute("data-lengths", name === "plain.dcm" ? /^\d+ pixels$/ : /^\d+\.\d mm$/);
    await expect(page.locator(".measured")).toContainText(scale);
    measured[name] = parseFloat((await canvas.getAttribute("data-lengths"))!);
  }
  // rows are 0.2 mm apart at the detector and 0.16 mm by calibration (page_material.py)
  expect(measured["detector.dcm"]! / measured["plain.dcm"]!).toBeCloseTo(0.2, 2);
  expect(measured["calibrated.dcm"]! / measured["plain.dcm"]!).toBeCloseTo(0.16, 2);
  const box = (await page.locator(".pane canvas").boundingBox())!;
  const [, width, height] = /, ([\d,]+) by ([\d,]+) pixels/.exec((await page.locator(".pane canvas").getAttribute("aria-label"))!)!;
  const scale = Math.min(box.width / Number(width), box.height / Number(height));
  expect(Math.abs(measured["plain.dcm"]! - (0.4 * box.height) / scale)).toBeLessThan(2);

  const canvas = page.locator(".pane canvas");
  await canvas.focus();
  await page.keyboard.press("Delete");
  await expect(canvas).toHaveAttribute("data-lengths", "");
  await page.keyboard.press("m");
  await page.keyboard.press("Enter");
  const first = await canvas.getAttribute("data-lengths");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await expect(canvas).not.toHaveAttribute("data-lengths", first!);
  await expect(canvas).toHaveAttribute("data-lengths", /^\d+\.\d mm$/);
  await page.keyboard.press("r");
  await expect(canvas).toHaveAttribute("data-lengths", "");
  await page.keyboard.press("w");
});

test("a damaged pixel spacing leaves lengths in pixels, and the page says why", async ({ emptied: page }) => {
  const files = ["text", "zero", "negative", "one"].map((name) => `spacing-${name}.dcm`);
  await add(page, ...files.map(material));
  for (const name of files) {
    await show(page, name);
    const canvas = page.locator(".pane canvas");
    await expect(canvas).toHaveAttribute("aria-label", new RegExp(name)); // the image comes after its answer
    await page.getByRole("button", { name: en.viewer.modes.measure }).click();
    await drag(page, canvas, [0.3, 0.5], [0.7, 0.5]);
    await expect(canvas).toHaveAttribute("data-lengths", /^\d+ pixels$/);
    await expect(page.locator(".measured")).toContainText(en.viewer.scales.damaged);
    await page.locator(".metadata summary").click();
    await expect(page.locator(".metadata")).toContainText(en.viewer.scales.damaged);
  }
  await page.getByRole("button", { name: en.viewer.modes.window }).click();
});

test("two images stand side by side, each with its own window; keys walk through the worklist", async ({ emptied: page }) => {
  const names = Object.entries(answers()["covid-3class.onnx"]!).filter(([name, one]) => decided(one) && /^P0/.test(name)).map(([name]) => name).slice(0, 3);
  await add(page, ...names.map(drawn));
  await show(page, names[0]!);
  await page.getByRole("button", { name: en.files.beside(names[1]!) }).click();
  const panes = page.locator(".pane");
  await expect(panes).toHaveCount(2);
  await expect(panes.nth(0)).toContainText(names[0]!);
  await expect(panes.nth(1)).toContainText(names[1]!);
  const [first, second] = [panes.nth(0).locator("canvas"), panes.nth(1).locator("canvas")];
  const [left, right] = [(await first.boundingBox())!, (await second.boundingBox())!];
  expect(left.x + left.width).toBeLessThanOrEqual(right.x);
  const before = await first.getAttribute("data-window");
  await second.focus();
  await page.keyboard.press("3");
  await expect(page.getByLabel(en.viewer.preset)).toHaveValue("lungs"); // the fields are those of the image in use
  await expect(first).toHaveAttribute("data-window", before!);
  await first.focus();
  await expect(page.getByLabel(en.viewer.preset)).toHaveValue("file");
  await page.getByRole("button", { name: en.viewer.closeBeside }).click();
  await expect(panes).toHaveCount(1);
  await first.focus();
  await page.keyboard.press("PageDown");
  await expect(answer(page).locator(".for")).toHaveText(names[1]!);
  await expect(page.locator(".pane canvas")).toBeFocused();
  await page.keyboard.press("PageUp");
  await expect(answer(page).locator(".for")).toHaveText(names[0]!);
});

test("on a desktop all tools stand in one row, in every language, also with two images", async ({ browser, site }) => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: "en" });
  const page = await context.newPage();
  await open(page, site.url);
  await add(page, drawn(png()), material("plain.dcm"));
  await page.getByRole("button", { name: en.files.beside("plain.dcm") }).click();
  await expect(page.locator(".pane")).toHaveCount(2);
  for (const code of Object.keys(LANGUAGES)) {
    await page.locator("#language").selectOption(code);
    const [highest, lowest, hidden] = await page.locator(".toolbar").evaluate((bar) => {
      const middles = [...bar.querySelectorAll("button, select")].map((one) => one.getBoundingClientRect()).map(({ top, bottom }) => (top + bottom) / 2);
      return [Math.min(...middles), Math.max(...middles), bar.scrollWidth - bar.clientWidth];
    });
    expect([code, lowest! - highest! < 4, hidden]).toEqual([code, true, 0]);
  }
  await context.close();
});

test("the image has the height of the window, and in full screen all of it", async ({ emptied: page }) => {
  await add(page, drawn(png()));
  const canvas = page.locator(".pane canvas");
  await expect(canvas).toBeVisible();
  expect(await page.evaluate(() => document.documentElement.scrollHeight <= innerHeight)).toBe(true); // nothing below the screen
  const share = async (): Promise<number> => {
    const box = (await canvas.boundingBox())!;
    return (box.width * box.height) / (await page.evaluate(() => innerWidth * innerHeight));
  };
  expect((await canvas.boundingBox())!.height).toBeGreaterThan(0.65 * 900);
  await canvas.focus();
  await page.keyboard.press("f");
  await expect(async () => expect(await share()).toBeGreaterThan(0.85)).toPass();
  await expect(page.locator(".viewer .research")).toBeVisible();
  await page.keyboard.press("f");
  await expect(async () => expect(await share()).toBeLessThan(0.6)).toPass();
});

test("a phone shows the image and the result on its first screen, the rest in tabs", async ({ browser, site }) => {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, locale: "en" });
  const page = await context.newPage();
  await open(page, site.url);
  await expect(page.locator("#choose")).toBeVisible(); // before there is an image, the first thing is to add one
  await expect(page.locator(".viewer")).toBeHidden();
  await add(page, drawn(png()));
  await expect(answer(page)).toHaveAttribute("data-tone", "decided");
  for (const part of [page.locator(".pane canvas"), answer(page).locator(".decision")]) {
    const box = (await part.boundingBox())!;
    expect(box.y).toBeGreaterThanOrEqual(0);
    expect(box.y + box.height).toBeLessThan((await page.locator(".tabs").boundingBox())!.y);
  }
  expect(await page.evaluate(() => document.documentElement.scrollHeight)).toBeLessThan(2000);
  const parts = { files: ".files", display: ".display", points: ".points", report: ".report", about: ".about", result: ".answer" } as const;
  for (const [tab, part] of Object.entries(parts)) {
    await openTab(page, tab as keyof typeof parts);
    for (const other of Object.values(parts)) await expect(page.locator(other)).toBeVisible({ visible: other === part });
    await expect(page.locator(".pane canvas")).toBeVisible();
    expect(await overflows(page)).toBe(false);
  }
  await page.locator("#tab-result").focus();
  await page.keyboard.press("ArrowRight");
  await expect(page.locator("#tab-files")).toBeFocused();
  await expect(page.locator(".files")).toBeVisible();
  await page.locator(".file").click(); // the file that is chosen already
  await expect(answer(page)).toBeVisible();
  await context.close();
});
