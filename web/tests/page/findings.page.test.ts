/** A model of several findings: a row for each, the worklist by finding, what is saved, and the report. */

import { readFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import { LANGUAGES } from "../../src/locales";
import { en } from "../../src/locales/en";
import { findingName } from "../../src/locales/findings";
import { add, answer, drawn, expect, material, open, overflows, show, test as base, withModel } from "./opened";
import { answers, type Answer } from "./prepare";

type Several = Answer & { readonly findings?: Record<string, "present" | "absent" | "uncertain"> };
const python = (): Record<string, Several> => answers()["findings.onnx"]!;
const files = (): string[] => Object.keys(python()).filter((name) => /^P0/.test(name)).sort();

/** A page of its own for each test: they set prevalences, findings and filters. */
const test = base.extend<{ several: Page }>({
  several: async ({ browser, site }, use) => {
    const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1440, height: 900 } });
    await withModel(context, "findings.onnx");
    const page = await context.newPage();
    await open(page, site.url);
    await use(page);
    await context.close();
  },
});

const rows = (page: Page) => answer(page).locator(".finding");
const row = (page: Page, finding: string) => answer(page).locator(`[data-finding="${finding}"]`);
const number = (page: Page) => answer(page).locator(".number strong");

test("every finding has Python's decision and probability in a row of its own, with the reason", async ({ several: page }) => {
  test.setTimeout(180_000);
  await add(page, ...files().map(drawn), material("small.png"), material("cut.png"));
  const all = en.files.progress(String(files().length + 2), String(files().length + 2));
  await expect(page.locator("#files-progress")).toHaveText(all, { timeout: 120_000 });
  const seen = new Set<string>();
  for (const name of files()) {
    await show(page, name);
    const { findings, probabilities, decision } = python()[name]!;
    for (const [finding, own] of Object.entries(findings!)) {
      seen.add(own);
      await expect(row(page, finding)).toHaveAttribute("data-decision", own);
      await expect(row(page, finding)).toContainText(en.findings.decisions[own]);
      await expect(row(page, finding)).toContainText(findingName(finding, "en"));
      expect(Math.abs(Number(await row(page, finding).getAttribute("data-share")) - probabilities[finding]!)).toBeLessThan(0.011);
      await expect(row(page, finding).locator(".note")).toContainText({ present: "upper line", absent: "lower line", uncertain: "between the lines" }[own]);
    }
    const present = Object.keys(findings!).filter((one) => findings![one] === "present");
    expect(decision).toBe(present.join("|") || decision);
    for (const one of present) await expect(answer(page).locator(".decision")).toContainText(findingName(one, "en"));
    await expect(answer(page).locator(".number")).toHaveCount(1);
  }
  expect([...seen].sort()).toEqual(["absent", "present", "uncertain"]);
  await show(page, "small.png");
  await expect(answer(page)).toHaveAttribute("data-tone", "refused");
  await expect(rows(page)).toHaveCount(0);
});

test("a chosen finding has its number, prevalence, heatmap and operating points", async ({ several: page }) => {
  const name = files()[0]!;
  await add(page, drawn(name));
  await show(page, name);
  const { probabilities } = python()[name]!;
  await row(page, "edema").getByRole("button").click();
  await expect(row(page, "edema").getByRole("button")).toBeFocused();
  // 40 of 100 test images have an edema (findings_bundle.py): until another is set, that is the prevalence
  await expect(page.locator("output[for=prevalence]")).toHaveText("40%");
  expect(Math.abs(Number(await number(page).getAttribute("data-share")) - probabilities["edema"]!)).toBeLessThan(0.011);
  await page.getByLabel(en.operatingPoints.prevalence).focus();
  await page.keyboard.press("Home"); // 0.1 %
  const odds = ((probabilities["edema"]! / (1 - probabilities["edema"]!)) * (0.001 / 0.999)) / (0.4 / 0.6);
  expect(Math.abs(Number(await number(page).getAttribute("data-share")) - odds / (1 + odds))).toBeLessThan(0.001);
  await expect(row(page, "edema").locator(".share")).toHaveText((await number(page).textContent())!); // one number, not two
  await expect(answer(page).locator(".against")).toBeVisible(); // present by the model, improbable at this prevalence
  await page.locator(".points summary").click();
  await expect(page.locator(".call")).toContainText(findingName("edema", "en"));

  await row(page, "my_finding").getByRole("button").click(); // neither figures nor operating points
  await expect(page.locator("output[for=prevalence]")).toHaveCount(0);
  await expect(answer(page).locator(".number")).toContainText(en.probabilities.asGiven("my_finding"));
  await expect(page.locator(".points")).toContainText(en.operatingPoints.absent);
  await page.getByLabel(en.heatmap.show).check();
  await expect(page.locator(".pane canvas")).toHaveAttribute("data-heatmap", "my_finding");
  await row(page, "edema").getByRole("button").click();
  await expect(page.locator(".pane canvas")).toHaveAttribute("data-heatmap", "edema");
});

test("the worklist shows, sorts, filters and saves by finding", async ({ several: page }) => {
  test.setTimeout(180_000);
  await add(page, ...files().map(drawn), material("small.png"));
  const all = String(files().length + 1);
  await expect(page.locator("#files-progress")).toHaveText(en.files.progress(all, all), { timeout: 120_000 });
  await page.locator(".list-tools summary").click();
  const tools = page.locator(".list-tools");
  const listed = (): Promise<string[]> => page.locator(".file .name").allTextContents();
  await tools.getByLabel(en.findings.finding).selectOption("pneumonia");
  await page.getByLabel(en.files.sort).selectOption("highest");
  const shares = (await listed()).map((name) => python()[name]!.probabilities["pneumonia"] ?? -1);
  shares.reduce((before, now) => (expect(now).toBeLessThan(before + 0.002), now));
  await page.getByLabel(en.files.sort).selectOption("added");
  for (const [finding, own] of [["pneumonia", "uncertain"], ["edema", "absent"], ["edema", "present"]] as const) {
    await tools.getByLabel(en.findings.finding).selectOption(finding);
    await tools.getByLabel(en.files.filter, { exact: true }).selectOption(own);
    expect(await listed()).toEqual(files().filter((name) => python()[name]!.findings![finding] === own));
    await expect(page.locator(".file .share").first()).toContainText(`${findingName(finding, "en")}`);
    await expect(page.locator(".file .share").first()).toContainText(en.findings.decisions[own]);
  }
  const save = async (kind: "CSV" | "JSON"): Promise<string> => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: kind, exact: true }).click()]);
    return readFileSync(await download.path(), "utf8");
  };
  const records = JSON.parse(await save("JSON")) as Several[];
  expect(records.map(({ decision }) => decision)).toEqual([...files(), "small.png"].map((name) => python()[name]!.decision));
  expect(records.map(({ findings }) => findings)).toEqual([...files(), "small.png"].map((name) => python()[name]!.findings));
  const lines = (await save("CSV")).trim().split("\r\n").map((line) => line.split(","));
  const head = "path,decision,probability_edema,probability_pneumonia,probability_my_finding,finding_edema,finding_pneumonia,finding_my_finding,novelty";
  expect(lines[0]!.slice(0, 9).join()).toBe(head);
  expect(lines.slice(1, -1).map((line) => line.slice(5, 8))).toEqual(files().map((name) => Object.values(python()[name]!.findings!)));
});

test("the report has every finding on one sheet, in every language", async ({ several: page }) => {
  test.setTimeout(180_000);
  const name = files()[0]!;
  await add(page, drawn(name));
  await show(page, name);
  for (const [code, texts] of Object.entries(LANGUAGES)) {
    await page.locator("#language").selectOption(code);
    await expect(row(page, "edema")).toContainText(texts.findings.decisions.present);
    await expect(row(page, "edema")).toContainText(findingName("edema", code as keyof typeof LANGUAGES));
    expect(await overflows(page)).toBe(false);
    await page.emulateMedia({ media: "print" });
    const pdf = (await page.pdf({ format: "A4" })).toString("latin1");
    expect([code, pdf.match(/\/Type\s*\/Page\b/g)?.length]).toEqual([code, 1]);
    await expect(page.locator(".sheet .finding")).toHaveCount(3);
    await expect(page.locator(".sheet .finding button")).toHaveCount(0);
    await page.emulateMedia({ media: "screen" });
  }
});
