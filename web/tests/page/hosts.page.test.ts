/** The same page at its other homes: `pocketcxr serve`, and a plain http address of a local network. */

import { spawn, type ChildProcess } from "node:child_process";
import { chromium } from "@playwright/test";
import { add, answer, decided, drawn, drawnWith, expect, open, test } from "./opened";
import { BUILT, python, pythonEnvironment } from "./prepare";
import { modelFile } from "../../scripts/offline-plugin";

const SERVE = `
import sys
from pathlib import Path
from pocketcxr.serving.command import run_serve
from pocketcxr.serving.settings import Settings
run_serve(Settings(bundle=Path(sys.argv[1]), page=Path(sys.argv[2]), port=0, workers=1))
`;

/** Start the HTTP service with the built page; the address stands in its log. */
function service(): Promise<{ process: ChildProcess; url: string }> {
  const process = spawn(python(), ["-c", SERVE, modelFile(), BUILT], { env: pythonEnvironment() });
  return new Promise((resolve, reject) => {
    let log = "";
    const read = (chunk: Buffer): void => {
      log += chunk.toString();
      const url = /"url": "([^"]+)"/.exec(log)?.[1];
      if (url) resolve({ process, url: `${url}/` });
    };
    process.stdout.on("data", read);
    process.stderr.on("data", read);
    process.on("exit", () => reject(new Error(`the service ended: ${log}`)));
  });
}

test("pocketcxr serve gives the same page, with threads at once, and is asked for no prediction", async ({ page }) => {
  const { process, url } = await service();
  try {
    const asked: string[] = [];
    page.on("request", (request) => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
    await open(page, url);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    await add(page, drawn(drawnWith(decided)));
    await expect(answer(page)).toHaveAttribute("data-tone", "decided");
    expect(asked.filter((line) => !line.startsWith("GET ") || line.includes("/v1/"))).toEqual([]);
  } finally {
    process.kill();
  }
});

test("on a plain http address it works too, without offline copy and threads", async ({ site }) => {
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP clinic.test 127.0.0.1"],
  });
  try {
    const page = await (await browser.newContext({ locale: "en" })).newPage();
    await open(page, site.url.replace("127.0.0.1", "clinic.test"));
    expect(await page.evaluate(() => isSecureContext)).toBe(false);
    await expect(page.locator("[data-threads]")).toHaveAttribute("data-threads", "1");
    await add(page, drawn(drawnWith(decided)));
    await expect(answer(page)).toHaveAttribute("data-tone", "decided");
  } finally {
    await browser.close();
  }
});
