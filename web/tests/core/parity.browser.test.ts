/** The same answers as Python, in a real browser, with one thread and with several. */

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test, type Page } from "@playwright/test";
import { HARNESS, SCRATCH, WEIGHTS } from "./prepare";
import { serve, type Serving } from "./serving";

const TOLERANCE = 0.005; // of probabilities
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

interface Expected {
  file: string;
  expected: {
    path: string;
    decision: string;
    probabilities: Record<string, number>;
    novelty: number | null;
    reasons: { code: string; words: string }[];
    bundle: string;
  };
  about: { notes: string[]; bits: number } | null;
}

type Found = Expected["expected"] & { notes?: string };

function expectedAnswers(): Expected[] {
  const lines = readFileSync(join(SCRATCH, "expected.jsonl"), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Expected);
}

/** What the browser answers for a file; a file that cannot be read as the record that Python writes. */
async function answerFor(page: Page, file: string): Promise<Found> {
  const bytes = readFileSync(file).toString("base64");
  return page.evaluate(
    async ({ name, base64 }) => {
      const engine = (globalThis as never as { engine: import("../../src/core/api").Engine }).engine;
      const buffer = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
      try {
        const picture = await engine.read(name, buffer);
        const { decision, probabilities, novelty, reasons, bundle, path } = await engine.predict(picture);
        return { path, decision, probabilities, novelty, reasons, bundle, notes: picture.facts["notes"] ?? "" };
      } catch (error) {
        const { code, message } = error as { code: string; message: string };
        const reasons = [{ code, words: message }];
        return { path: name, decision: "error", probabilities: {}, novelty: null, reasons, bundle: engine.identity };
      }
    },
    { name: basename(file), base64: bytes },
  );
}

/** What the decoders themselves say stands in brackets, and names no fact of the picture. */
function withoutDecoder(words: string): string {
  return words.replace(/\((image file is truncated|broken data stream|Truncated File Read|[a-z ]*error)[^)]*\)+/i, "(…)");
}

function differences(found: Found, { expected, about }: Expected): string[] {
  const faults: string[] = [];
  if (found.decision !== expected.decision) faults.push(`decision ${expected.decision} -> ${found.decision}`);
  const words = [expected, found].map(({ reasons }) =>
    reasons.map((reason) => `${reason.code}: ${withoutDecoder(reason.words)}`).join(" | "),
  );
  if (words[0] !== words[1]) faults.push(`reasons\n      python  ${words[0]}\n      browser ${words[1]}`);
  if (found.bundle !== expected.bundle) faults.push(`bundle ${found.bundle}`);
  if (about && found.notes !== about.notes.join("; ")) faults.push(`notes ${about.notes.join("; ")} -> ${found.notes}`);
  return faults;
}

function largest(found: Found, { expected }: Expected): number {
  const labels = Object.keys(expected.probabilities);
  if (labels.join() !== Object.keys(found.probabilities).join()) return NaN;
  return Math.max(0, ...labels.map((label) => Math.abs(found.probabilities[label]! - expected.probabilities[label]!)));
}

async function openIn(page: Page, url: string): Promise<number> {
  await page.goto(`${url}/index.html`);
  return page.evaluate(async () => {
    const scope = globalThis as never as {
      openEngine: typeof import("../../src/core/api").openEngine;
      engine: import("../../src/core/api").Engine;
    };
    scope.engine = await scope.openEngine({ modelUrl: "/model/covid-3class.onnx" });
    return scope.engine.threads;
  });
}

for (const isolated of [false, true]) {
  test.describe(isolated ? "several threads" : "one thread", () => {
    let serving: Serving;
    test.beforeAll(async () => {
      serving = await serve({ folders: { "/model/": WEIGHTS, "/": HARNESS }, isolated, policy: POLICY });
    });
    test.afterAll(() => serving.close());

    test("every file gets Python's answer", async ({ page }) => {
      test.setTimeout(300_000);
      const threads = await openIn(page, serving.url);
      if (isolated) expect(threads).toBeGreaterThan(1);
      else expect(threads).toBe(1);
      const faults: string[] = [];
      let worst = 0;
      let noveltyWorst = 0;
      const all = expectedAnswers();
      for (const expected of all) {
        const found = await answerFor(page, expected.file);
        const difference = largest(found, expected);
        worst = Math.max(worst, difference);
        noveltyWorst = Math.max(noveltyWorst, Math.abs((found.novelty ?? 0) - (expected.expected.novelty ?? 0)));
        const wrong = differences(found, expected);
        if (!(difference <= TOLERANCE)) wrong.push(`probabilities differ by ${difference}`);
        if (wrong.length) faults.push(`${basename(expected.file)}\n    ${wrong.join("\n    ")}`);
      }
      console.log(
        `${all.length} files, ${threads} threads: probabilities differ by ${worst.toExponential(1)} at most, ` +
          `novelty by ${noveltyWorst.toExponential(1)}`,
      );
      expect(faults, faults.join("\n")).toEqual([]);
    });
  });
}
