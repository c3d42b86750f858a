/** Downloads that break off, in a real browser: they heal, or say in one line why not; a part is never used. */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { expect, test, type Page } from "@playwright/test";
import { BUNDLE, HARNESS, WEIGHTS } from "./prepare";
import { serve } from "./serving";

const model = readFileSync(join(WEIGHTS, BUNDLE));

interface Opened {
  identity: string;
  error: string;
  progress: [number, number][];
}

async function open(page: Page, url: string): Promise<Opened> {
  await page.goto(`${url}/index.html`);
  return page.evaluate(async () => {
    const { openEngine } = globalThis as never as { openEngine: typeof import("../../src/core/api").openEngine };
    const progress: [number, number][] = [];
    const onProgress = (loaded: number, total: number): void => void progress.push([loaded, total]);
    try {
      const engine = await openEngine({ modelUrl: "/model.onnx", onProgress });
      engine.close();
      return { identity: engine.identity, error: "", progress };
    } catch (error) {
      return { identity: "", error: (error as Error).message, progress };
    }
  });
}

/** Serve the harness, and the model by `send`, which is told how often it was asked before. */
async function opened(
  page: Page,
  send: (request: IncomingMessage, response: ServerResponse, earlier: number) => void,
): Promise<Opened & { ranges: (string | undefined)[] }> {
  const ranges: (string | undefined)[] = [];
  const serving = await serve({
    folders: { "/": HARNESS },
    isolated: false,
    intercept: (request, response) => {
      if (!request.url?.startsWith("/model.onnx")) return false;
      ranges.push(request.headers.range);
      send(request, response, ranges.length - 1);
      return true;
    },
  });
  try {
    return { ...(await open(page, serving.url)), ranges };
  } finally {
    await serving.close();
  }
}

/** Send the first bytes and then close the connection. */
function breakOff(response: ServerResponse, bytes: number, headers: Record<string, string>): void {
  response.writeHead(200, { "Content-Length": model.length, ...headers });
  response.write(model.subarray(0, bytes), () => setTimeout(() => response.destroy(), 100));
}

test("an interrupted download goes on where it stopped", async ({ page }) => {
  const half = model.length >> 1;
  const versions = { ETag: '"one"', "Accept-Ranges": "bytes" };
  const { identity, error, ranges, progress } = await opened(page, (request, response, earlier) => {
    if (earlier === 0) return breakOff(response, half, versions);
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1]);
    const rest = model.subarray(from);
    const span = `bytes ${from}-${model.length - 1}/${model.length}`;
    response.writeHead(206, { ...versions, "Content-Range": span, "Content-Length": rest.length }).end(rest);
  });
  expect(error).toBe("");
  expect(identity).toContain("sha256:");
  expect(ranges).toEqual([undefined, `bytes=${half}-`]);
  expect(progress.at(-1)).toEqual([model.length, model.length]);
  const loaded = progress.map(([bytes]) => bytes);
  expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
});

test("where the server cannot go on, the download starts again", async ({ page }) => {
  const { identity, ranges } = await opened(page, (_, response, earlier) => {
    if (earlier < 2) return breakOff(response, 100_000, {});
    response.writeHead(200, { "Content-Length": model.length }).end(model);
  });
  expect(identity).toContain("sha256:");
  expect(ranges).toEqual([undefined, undefined, undefined]);
});

test("another version in the middle of a download is taken whole", async ({ page }) => {
  const { identity } = await opened(page, (_, response, earlier) => {
    if (earlier === 0) return breakOff(response, 100_000, { ETag: '"old"', "Accept-Ranges": "bytes" });
    response.writeHead(200, { ETag: '"new"', "Content-Length": model.length }).end(model);
  });
  expect(identity).toContain("sha256:");
});

test("a damaged model is fetched again and never used", async ({ page }) => {
  test.setTimeout(120_000);
  const damaged = Buffer.from(model);
  damaged[1_000_000]! ^= 1;
  const once = await opened(page, (_, response, earlier) => {
    response.writeHead(200, { "Content-Length": model.length }).end(earlier ? model : damaged);
  });
  expect(once.identity).toContain("sha256:");
  const always = await opened(page, (_, response) => {
    response.writeHead(200, { "Content-Length": model.length }).end(damaged);
  });
  expect(always.error).toBe(
    "model.onnx: the bundle was changed after it was sealed (its SHA-256 does not fit): " +
      "copy or download it again from where it was published",
  );
});

test("a model that is not there is said so at once", async ({ page }) => {
  const { error, ranges } = await opened(page, (_, response) => void response.writeHead(404).end());
  expect(error).toBe("model.onnx: the model is not where it should be (HTTP 404); load the page again");
  expect(ranges).toHaveLength(1);
});
