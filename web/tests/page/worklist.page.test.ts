/** The worklist: order, filters, saving of the whole list, and removal that can be undone. */

import { readFileSync } from "node:fs";
import type { Locator, Page } from "@playwright/test";
import { en } from "../../src/locales/en";
import { add, answer, drawn, expect, material, show, test } from "./opened";
import { answers, type Answer } from "./prepare";

const python = (): Record<string, Answer> => answers()["covid-3class.onnx"]!;
const positive = (name: string): number | undefined => python()[name]!.probabilities?.["covid19"];
const files = (): string[] => Object.keys(python()).filter((name) => /^P0/.test(name)).sort().slice(0, 6);
const listed = (page: Page): Promise<string[]> => page.locator(".file .name").allTextContents();

const filter = (page: Page): Locator => page.locator(".list-tools").getByLabel(en.files.filter, { exact: true });

async function filled(page: Page): Promise<void> {
  test.setTimeout(180_000);
  await add(page, ...files().map(drawn), material("small.png"), material("cut.png"));
  await expect(page.locator("#files-progress")).toHaveText(en.files.progress("8", "8"), { timeout: 90_000 });
  await page.locator(".list-tools").evaluate((one: HTMLDetailsElement) => (one.open = true));
  await page.getByLabel(en.files.sort).selectOption("added");
  await filter(page).selectOption("");
}

test("files are sorted by probability and filtered by result and probability", async ({ emptied: page }) => {
  await filled(page);
  const thumbnails = await page.locator(".thumbnail").evaluateAll((all: HTMLCanvasElement[]) => all.map((one) => Math.max(one.width, one.height)));
  expect(thumbnails).toEqual([...Array<number>(7).fill(64), 1]); // the last cannot be read
  await page.getByLabel(en.files.sort).selectOption("highest");
  const shown = await listed(page);
  const values = shown.map((name) => positive(name) ?? -1);
  values.reduce((before, now) => (expect(now).toBeLessThan(before + 0.002), now)); // the browser differs in the fourth digit
  await page.getByLabel(en.files.sort).selectOption("name");
  expect(await listed(page)).toEqual(["cut.png", ...files(), "small.png"]);
  const decision = python()[files()[0]!]!.decision;
  await filter(page).selectOption(decision);
  expect(await listed(page)).toEqual(files().filter((name) => python()[name]!.decision === decision));
  await filter(page).selectOption("failed");
  expect(await listed(page)).toEqual(["cut.png"]);
  await expect(page.locator(".files")).toContainText(en.files.shown("1", "8"));
  await filter(page).selectOption("");
  const shares = await page.locator(".file", { has: page.locator(".share") }).evaluateAll((all) =>
    all.map((one) => [one.querySelector(".name")!.textContent!, parseFloat(/[\d.]+%/.exec(one.querySelector(".share")!.textContent!)![0])] as const));
  expect(shares).toHaveLength(6);
  const steps = Math.floor(Math.min(...shares.map(([, share]) => share)) / 5) + 1; // of 5 %, until one file is below
  const above = shares.filter(([, share]) => share >= 5 * steps).map(([name]) => name); // at the prevalence that is set, as in the result
  const least = page.getByLabel(en.files.least(en.labels["covid19"]!));
  await least.focus();
  for (let step = 0; step < steps; step++) await page.keyboard.press("ArrowRight");
  expect(above.length).toBeLessThan(6);
  expect(await listed(page)).toEqual(above);
  await page.keyboard.press("Home");
  await expect(page.locator(".file")).toHaveCount(8);
});

test("the whole list is saved as CSV and JSON, without names unless they are wanted", async ({ emptied: page }) => {
  await filled(page);
  await filter(page).selectOption("failed"); // what is saved does not depend on it
  const save = async (kind: "CSV" | "JSON"): Promise<string> => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: kind, exact: true }).click()]);
    return readFileSync(await download.path(), "utf8");
  };
  const records = JSON.parse(await save("JSON")) as Record<string, unknown>[];
  expect(records.map((one) => one["decision"])).toEqual([...files(), "small.png", "cut.png"].map((name) => python()[name]!.decision));
  expect(records.map((one) => one["number"])).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(JSON.stringify(records)).not.toContain(files()[0]!);
  await page.getByLabel(en.files.withNames).check();
  const lines = (await save("CSV")).trim().split("\r\n");
  expect(lines[0]).toBe("path,decision,probability_normal,probability_pneumonia,probability_covid19,novelty,reason_codes,reasons,bundle,number,file_sha256,prevalence,probability_at_prevalence,called,made");
  expect(lines).toHaveLength(9);
  lines.slice(1).forEach((line, i) => expect(line.startsWith(`${[...files(), "small.png", "cut.png"][i]!},`)).toBe(true));
  expect(lines[7]).toContain("too-small");
  await page.getByLabel(en.files.withNames).uncheck();
  await filter(page).selectOption("");
});

test("what was removed comes back with its results", async ({ emptied: page }) => {
  await filled(page);
  await show(page, files()[2]!);
  await page.getByRole("button", { name: en.files.removeAll }).click();
  await expect(page.locator(".file")).toHaveCount(0);
  const undo = page.getByRole("button", { name: en.files.undo });
  await expect(undo).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator(".file")).toHaveCount(8);
  await expect(page.locator("#files-progress")).toHaveText(en.files.progress("8", "8")); // nothing is read again
  await expect(undo).toBeHidden();
  await page.getByRole("button", { name: en.files.remove(files()[1]!) }).click();
  await expect(page.locator(".file")).toHaveCount(7);
  await undo.click();
  expect(await listed(page)).toEqual([...files(), "small.png", "cut.png"]);
  await expect(answer(page).locator(".decision")).not.toBeEmpty();
});
