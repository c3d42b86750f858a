/** The same page at its other homes: `pocketcxr serve`, and a plain http address of a local network. */

import { chromium } from "@playwright/test";
import { add, answer, decided, drawn, drawnWith, expect, open, test } from "./opened";
import { BUILT } from "./prepare";
import { packed, service } from "./service";

test("pocketcxr serve gives the same page, with threads at once, and is asked for no prediction", async ({ page }) => {
  test.setTimeout(180_000); // the service starts, and a busy machine compiles slowly
  const { process, url } = await service(packed());
  try {
    const asked: string[] = [];
    const encodings = new Map<string, string | undefined>();
    page.on("request", (request) => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
    page.on("response", (response) => {
      encodings.set(new URL(response.url()).pathname, response.headers()["content-encoding"]);
    });
    await open(page, url);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    await add(page, drawn(drawnWith(decided)));
    await expect(answer(page)).toHaveAttribute("data-tone", "decided");
    expect(asked.filter((line) => !line.startsWith("GET ") || line.includes("/v1/"))).toEqual([]);
    const runtime = [...encodings].filter(([path]) => path.endsWith(".wasm"));
    expect(runtime.some(([path]) => path.includes("ort-wasm"))).toBe(true);
    for (const [path, encoding] of runtime) expect(encoding, path).toBe("br"); // Chromium takes it from this computer or over TLS
    expect(encodings.has("/model.onnx")).toBe(true);
    expect(encodings.get("/model.onnx")).toBeUndefined();
  } finally {
    process.kill();
  }
});

test("on a plain http address it works too, without offline copy and threads", async ({ site }) => {
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP hospital.test 127.0.0.1"],
  });
  try {
    const page = await (await browser.newContext({ locale: "en" })).newPage();
    await open(page, site.url.replace("127.0.0.1", "hospital.test"));
    expect(await page.evaluate(() => isSecureContext)).toBe(false);
    await expect(page.locator("[data-threads]")).toHaveAttribute("data-threads", "1");
    await add(page, drawn(drawnWith(decided)));
    await expect(answer(page)).toHaveAttribute("data-tone", "decided");
  } finally {
    await browser.close();
  }
});

test("the page of the interface lists the addresses and shows the answer to an image", async ({ page }) => {
  const { process, url } = await service(BUILT);
  try {
    const faults: string[] = [];
    const asked: string[] = [];
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    page.on("pageerror", (error) => faults.push(error.message));
    page.on("request", (request) => asked.push(request.url()));
    await page.goto(`${url}v1/docs`);
    const address = page.locator("details", { has: page.getByText("/v1/predictions", { exact: true }) }).first();
    await address.locator("summary").first().click();
    await address.locator("input[type=file]").setInputFiles(drawn(drawnWith(decided)));
    await address.getByRole("button", { name: "Send" }).click();
    await expect(address.locator("[aria-live] code")).toHaveText("200");
    await expect(address.locator("[aria-live] pre").last()).toContainText('"decision"');
    const heatmaps = page.locator("details", { has: page.getByText("/v1/heatmaps", { exact: true }) }).first();
    await heatmaps.locator("summary").first().click();
    await heatmaps.locator("select").selectOption("application/octet-stream");
    await heatmaps.locator("input[type=file]").setInputFiles(drawn(drawnWith(decided)));
    await heatmaps.getByRole("button", { name: "Send" }).click();
    const picture = heatmaps.locator("[aria-live] img");
    await expect(picture).toBeVisible();
    expect(await picture.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBeGreaterThan(0);
    for (const one of asked) expect(one.replace(/^blob:/, "").startsWith(url), one).toBe(true);
    expect(faults.filter((fault) => !fault.includes("favicon"))).toEqual([]);
  } finally {
    process.kill();
  }
});
