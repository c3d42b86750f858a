/** Use of the page, from the file to the report. */

import { readFileSync } from "node:fs";
import { en } from "../../src/locales/en";
import { LANGUAGES } from "../../src/locales";
import { add, answer, decided, drawn, drawnWith, expect, material, open, overflows, show, test } from "./opened";
import { answers } from "./prepare";

const python = (): ReturnType<typeof answers>[string] => answers()["covid-3class.onnx"]!;

test("every file gets Python's decision and codes; an unreadable one affects no other", async ({ emptied: page }) => {
  const good = drawnWith((one, name) => decided(one) && name.endsWith(".png"));
  const dicom = drawnWith((_, name) => name.endsWith(".dcm"));
  const jpeg = drawnWith((_, name) => name.endsWith(".jpg"));
  const bad = ["cut.png", "letter.txt", "empty.dcm", "small.png", "photo.png"];
  await add(page, drawn(good), ...bad.map(material), drawn(dicom), drawn(jpeg));
  await expect(page.locator("#files-progress")).toHaveText(en.files.progress("8", "8"));
  for (const name of [good, dicom, jpeg]) {
    await show(page, name);
    const { decision, probabilities } = python()[name]!;
    const words = decision === "uncertain" ? en.answer.uncertain : en.labels[decision]!;
    await expect(answer(page).locator(".decision")).toContainText(words);
    const shown = await answer(page).locator(".bar").evaluateAll((bars) => bars.map((bar) => Number((bar as HTMLElement).dataset["share"])));
    Object.values(probabilities).forEach((p, i) => expect(Math.abs(shown[i]! - p)).toBeLessThan(0.011));
    const possible = await answer(page).locator(".bar.possible dt").allTextContents();
    expect(possible.length === 1 ? possible[0] : en.answer.uncertain).toBe(words); // the bars show the rule that decided
    await expect(answer(page).locator(".number")).toHaveCount(1);
    await expect(page.locator(".stage canvas")).toBeVisible();
  }
  for (const name of bad) {
    await show(page, name);
    const { decision, reasons } = python()[name]!;
    await expect(answer(page)).toHaveAttribute("data-tone", decision === "error" ? "failed" : "refused");
    const codes = await answer(page).locator(".reasons li").evaluateAll((items) => items.map((item) => item.getAttribute("data-code")));
    expect(codes).toEqual(reasons.map((reason) => reason.code));
    await expect(answer(page).locator(".bars")).toHaveCount(0);
    const headlines: Record<string, string> = { "small.png": en.answer.refusedQuality, "photo.png": en.answer.refusedKind };
    await expect(answer(page).locator(".decision")).toContainText(headlines[name] ?? en.answer.failed);
  }
});

test("the warning of a failed audit is at the top of the page", async ({ emptied: page }) => {
  const failed = /FAILED/.test((await page.locator(".model").textContent()) ?? "");
  await expect(page.locator(".warning")).toBeVisible({ visible: failed });
  if (failed) await expect(page.locator(".warning h2")).toHaveText(en.audit.heading);
});

test("brightness, contrast, zoom, inversion and heatmap change the picture; reset brings it back", async ({ emptied: page }) => {
  await add(page, drawn(drawnWith(decided)));
  const canvas = page.locator(".stage canvas");
  await expect(canvas).toHaveAttribute("data-zoom", "1.000");
  await expect(page.getByLabel(en.heatmap.show)).not.toBeChecked();
  const look = (): Promise<number> =>
    canvas.evaluate(async (element: HTMLCanvasElement) => {
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const { data } = element.getContext("2d")!.getImageData(0, 0, element.width, element.height);
      return data.reduce((sum, value, i) => (i % 4 === 0 ? (sum * 31 + value) % 1_000_003 : sum), 7);
    });
  const plain = await look();
  const seen = new Set([plain]);
  const changed = async (): Promise<void> => {
    await expect(async () => expect(seen).not.toContain(await look())).toPass();
    seen.add(await look());
  };
  await canvas.scrollIntoViewIfNeeded();
  const box = (await canvas.boundingBox())!;
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2 + 40, box.y + box.height / 2 - 60, { steps: 3 });
  await page.mouse.up();
  await changed();
  await expect(page.getByLabel(en.viewer.preset)).toHaveValue("custom");
  await page.getByLabel(en.viewer.preset).selectOption("lungs");
  await changed();
  await page.getByRole("button", { name: en.viewer.invert }).click();
  await changed();
  await canvas.hover();
  await page.mouse.wheel(0, -400);
  await expect(canvas).not.toHaveAttribute("data-zoom", "1.000");
  await changed();
  await page.getByLabel(en.heatmap.show).check();
  await changed();
  await page.getByLabel(en.heatmap.class).selectOption("normal");
  await expect(canvas).toHaveAttribute("data-heatmap", "normal");
  await page.getByLabel(en.heatmap.show).uncheck();
  await page.getByRole("button", { name: en.viewer.reset }).click();
  await expect(async () => expect(await look()).toBe(plain)).toPass();
});

test("two fingers zoom", async ({ browser, site }) => {
  const context = await browser.newContext({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  const page = await context.newPage();
  await open(page, site.url);
  await expect(page.getByRole("button", { name: en.fileInput.photograph })).toBeVisible();
  await add(page, drawn(drawnWith(decided)));
  const canvas = page.locator(".stage canvas");
  await canvas.scrollIntoViewIfNeeded();
  const box = (await canvas.boundingBox())!;
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const session = await context.newCDPSession(page);
  const fingers = (gap: number): { x: number; y: number; id: number }[] => [{ x: x - gap, y, id: 1 }, { x: x + gap, y, id: 2 }];
  await session.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: fingers(20) });
  for (const gap of [30, 40, 60]) await session.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: fingers(gap) });
  await session.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await expect(async () => expect(Number(await canvas.getAttribute("data-zoom"))).toBeGreaterThan(2)).toPass();
  expect(await overflows(page)).toBe(false);
  await context.close();
});

test("the one number follows the prevalence, and the folded figures follow the operating point", async ({ emptied: page }) => {
  await add(page, drawn(drawnWith(decided)));
  const number = answer(page).locator(".number strong");
  await page.getByLabel(en.operatingPoints.prevalence).focus();
  await page.keyboard.press("Home");
  await expect(page.locator("output[for=prevalence]")).toHaveText("0.1%");
  const low = Number(await number.getAttribute("data-share"));
  await page.keyboard.press("End");
  await expect(page.locator("output[for=prevalence]")).toHaveText("90%");
  await expect(async () => expect(Number(await number.getAttribute("data-share"))).toBeGreaterThan(low)).toPass();
  await expect(answer(page).locator(".number")).toContainText("90%");
  await expect(page.locator(".figures")).toBeHidden();
  await page.locator(".points summary").click();
  await expect(page.locator(".outcome")).toContainText("calibration");
  await page.getByRole("radio", { name: /Screening/ }).check();
  const screening = await page.locator(".figures").textContent();
  await page.getByRole("radio", { name: /Confirming/ }).check();
  await expect(page.locator(".figures")).not.toHaveText(screening!);
});

test("pasted, dropped and synthetic images are scored too", async ({ emptied: page }) => {
  const bytes = [...readFileSync(drawn(drawnWith((_, name) => name.endsWith(".png"))))];
  await page.evaluate((content) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(content)], "image.png", { type: "image/png" }));
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
    const dropped = new DataTransfer();
    dropped.items.add(new File([new Uint8Array(content)], "dropped.png", { type: "image/png" }));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
  }, bytes);
  await page.getByRole("button", { name: en.fileInput.example }).click();
  for (const name of [en.files.pasted("1"), "dropped.png", en.files.drawing]) {
    await show(page, name);
    await expect(answer(page).locator(".bars")).toBeVisible();
    await expect(answer(page).locator(".synthetic")).toContainText(en.reasons.synthetic); // all three are drawings
  }
  await expect(answer(page)).toHaveAttribute("data-tone", "uncertain"); // the example shows two bars at the line
  await expect(answer(page).locator(".bar.possible")).toHaveCount(2);
  await page.getByRole("button", { name: en.files.remove("dropped.png") }).click();
  await expect(page.locator(".file")).toHaveCount(2);
  await page.getByRole("button", { name: en.files.removeAll }).click();
  await expect(page.locator(".file")).toHaveCount(0);
  await expect(answer(page)).toContainText(en.answer.empty);
});

test("the report holds what was typed and nothing of the file's header or name", async ({ emptied: page }) => {
  test.setTimeout(180_000);
  const name = drawnWith((one, file) => decided(one) && file.endsWith(".dcm"));
  await add(page, drawn(name));
  await show(page, name);
  await page.getByLabel(en.report.patient).fill("Study 7");
  await page.getByLabel(en.report.notes).fill("second reading wanted");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: en.report.save }).click()]);
  const text = readFileSync(await download.path(), "utf8");
  const record = JSON.parse(text) as Record<string, unknown>;
  expect(record["decision"]).toBe(python()[name]!.decision);
  expect(record["typed"]).toEqual({ patient: "Study 7", notes: "second reading wanted" });
  expect(record["path"]).toBe("picture");
  expect(text).not.toContain(name);
  const patient = /P\d{5}/.exec(name)![0]; // PatientID of the drawn file
  expect(text).not.toContain(patient);
  await page.evaluate(() => globalThis.dispatchEvent(new Event("beforeprint")));
  const sheet = page.locator(".sheet");
  await expect(sheet).toContainText("Study 7");
  await expect(sheet).toContainText(en.report.footer);
  await expect(sheet).not.toContainText(patient);
  await page.emulateMedia({ media: "print" });
  await expect(page.locator(".screen")).toBeHidden();
  for (const [code, format] of [["en", "A4"], ...Object.keys(LANGUAGES).map((one) => [one, "Letter"])] as [string, string][]) {
    await page.locator("#language").selectOption(code, { force: true }); // it is not printed
    const pdf = (await page.pdf({ format })).toString("latin1");
    expect([code, format, pdf.match(/\/Type\s*\/Page\b/g)?.length]).toEqual([code, format, 1]);
  }
  await page.locator("#language").selectOption("en", { force: true });
  await page.emulateMedia({ media: "screen" });
  await page.getByLabel(en.report.includeName).check();
  const [second] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: en.report.save }).click()]);
  expect(JSON.parse(readFileSync(await second.path(), "utf8"))).toMatchObject({ path: name });
});

test("speaks the browser's language, another by the menu, and remembers it", async ({ browser, site }) => {
  const context = await browser.newContext({ locale: "fa-IR", viewport: { width: 320, height: 700 } });
  const page = await context.newPage();
  await open(page, site.url);
  await add(page, material("small.png"));
  for (const [code, texts] of Object.entries(LANGUAGES)) {
    if (code === "en") await expect(page.locator("#file-input-heading")).toHaveText(LANGUAGES.fa.fileInput.heading);
    await page.locator("#language").selectOption(code);
    await expect(page.locator("#language")).toBeFocused();
    await expect(page.locator("html")).toHaveAttribute("dir", texts.direction);
    await expect(page.locator("#file-input-heading")).toHaveText(texts.fileInput.heading);
    await expect(answer(page).locator(".reasons")).toContainText(texts.reasons["too-small"]!);
    expect(await overflows(page)).toBe(false);
  }
  await page.reload();
  await expect(page.locator("#file-input-heading")).toHaveText(LANGUAGES.zh.fileInput.heading);
  await context.close();
});

test("a program that breaks down is started again, and no file is lost", async ({ emptied: page }) => {
  const [worker] = page.workers();
  await worker!.evaluate(() => void setTimeout(() => { throw new Error("out of memory"); }));
  const name = drawnWith(decided);
  await add(page, drawn(name), material("cut.png"));
  await expect(page.locator("#files-progress")).toHaveText(en.files.progress("2", "2"), { timeout: 40_000 });
  await show(page, name);
  await expect(answer(page)).toHaveAttribute("data-tone", "decided");
  await show(page, "cut.png");
  await expect(answer(page)).toHaveAttribute("data-tone", "failed");
});
