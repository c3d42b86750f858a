/** Appearance: screenshots to look at (test-results/page/looks), and automatic checks of size and overflow. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContextOptions } from "@playwright/test";
import { add, answer, decided, drawn, drawnWith, expect, material, open, overflows, show, test } from "./opened";
import { SCRATCH } from "./prepare";

const PHONE: BrowserContextOptions = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
const DESKTOP: BrowserContextOptions = { viewport: { width: 1440, height: 900 } };

const LOOKS: Record<string, BrowserContextOptions> = {
  "phone": { ...PHONE, locale: "en" },
  "phone-persian-dark": { ...PHONE, locale: "fa", colorScheme: "dark" },
  "desktop": { ...DESKTOP, locale: "en" },
  "desktop-chinese-dark": { ...DESKTOP, locale: "zh", colorScheme: "dark" },
};

for (const [name, options] of Object.entries(LOOKS)) {
  test(`fits the screen: ${name}`, async ({ browser, site }) => {
    const context = await browser.newContext({ ...options, reducedMotion: "reduce" });
    const page = await context.newPage();
    await open(page, site.url);
    const file = drawnWith(decided);
    await add(page, drawn(file), material("small.png"), material("cut.png"));
    await show(page, "cut.png");
    await show(page, file);
    await expect(page.locator(".stage canvas")).toHaveAttribute("data-heatmap", ""); // off until it is asked for
    for (const width of [320, options.viewport!.width, 2560]) {
      if (width !== options.viewport!.width && name !== "desktop") continue;
      await page.setViewportSize({ width, height: options.viewport!.height });
      expect(await overflows(page)).toBe(false);
    }
    await page.setViewportSize(options.viewport!);
    const small = await page.locator("button:visible, select:visible").evaluateAll((all) =>
      all.filter((one) => one.getBoundingClientRect().height < 40).map((one) => one.textContent),
    );
    expect(small).toEqual([]); // a thumb hits everything
    await page.screenshot({ path: join(SCRATCH, "looks", `${name}.png`), fullPage: true });
    await context.close();
  });
}

const data = process.env["POCKETCXR_DATA"];
const folder = data ? join(data, "dicom") : "";

test("real DICOM files: chests are answered, the rest is refused or said to be unreadable", async ({ emptied: page }) => {
  test.skip(!folder || !existsSync(folder), "POCKETCXR_DATA does not name a folder with X-rays");
  test.setTimeout(240_000); // large files, also on a busy machine
  const names = readdirSync(folder).sort();
  await add(page, ...names.map((name) => join(folder, name)));
  await expect(page.locator(".files progress")).toBeHidden({ timeout: 180_000 });
  await expect(page.locator(".file .sign.waiting")).toHaveCount(0);
  for (const name of names) {
    await show(page, name);
    await expect(answer(page)).toHaveAttribute("data-tone", /decided|uncertain|refused|failed/);
  }
  await show(page, names.find((name) => name.startsWith("test1"))!);
  await expect(answer(page).locator(".bars")).toBeVisible();
  await show(page, names.find((name) => name.startsWith("RG3"))!); // a tibia
  await expect(answer(page)).toHaveAttribute("data-tone", "refused");
});
