/** The same answers as Python, in a real browser, with one thread and with several. */

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { expect, test, type Page } from "@playwright/test";
import { BUNDLE, HARNESS, SCRATCH, WEIGHTS } from "./prepare";
import { serve, type Serving } from "./serving";

const TOLERANCE = 0.005; // of probabilities
const GOLDEN_TOLERANCE = 0.001; // of every output, as in `pocketcxr doctor`
const PIXEL_TOLERANCE = 1.5 / 255; // colours of a JPEG are rounded one way or the other
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

interface Expected {
  file: string;
  expected: {
    path: string;
    decision: string;
    probabilities: Record<string, number>;
    novelty: number | null;
    reasons: { code: string; cause?: string }[];
    bundle: string;
    findings?: Record<string, string>;
  };
  picture: { width: number; height: number; notes: string[]; bits: number; step: number; pixels: number[] } | null;
}

type Found = Expected["expected"] & { picture: Expected["picture"] };

/** PARITY_ONLY names a part of a path, while one works on a few files. */
function wanted(file: string): boolean {
  return file.includes(process.env["PARITY_ONLY"] ?? "");
}

/** Threads change the network only, so with several of them a part of the drawn files is enough. */
function real(file: string): boolean {
  return !file.startsWith(SCRATCH);
}

function expectedAnswers(name = "expected"): Expected[] {
  const lines = readFileSync(join(SCRATCH, `${name}.jsonl`), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Expected);
}

/** What the browser answers for a file; a file that cannot be read as the record that Python writes. */
async function answerFor(page: Page, { file, picture: expected }: Expected): Promise<Found> {
  const bytes = readFileSync(file).toString("base64");
  return page.evaluate(
    async ({ name, base64, step }) => {
      const engine = (globalThis as never as { engine: import("../../src/core/api").Engine }).engine;
      const buffer = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
      try {
        const picture = await engine.read(name, buffer);
        const { decision, probabilities, novelty, reasons, bundle, path, findings } = await engine.predict(picture);
        const { width, height, metadata } = picture;
        const pixels = [...picture.pixels.filter((_, at) => at % step === 0)];
        const seen = { width, height, step, pixels, notes: [metadata["notes"] ?? ""], bits: Number(metadata["bits"]) };
        return { path, decision, probabilities, novelty, reasons, bundle, findings, picture: seen };
      } catch (error) {
        const { category, code } = error as import("../../src/core/api").InputError;
        const reasons = [{ code: category, cause: code }];
        const nothing = { probabilities: {}, novelty: null, picture: null };
        return { path: name, decision: "error", ...nothing, reasons, bundle: engine.identity };
      }
    },
    { name: basename(file), base64: bytes, step: expected?.step ?? 1 },
  );
}

/** TIFF and JPEG of four inks are read by Python only. */
function isForPython(file: string): boolean {
  return file.endsWith(".tif") || file.endsWith("cmyk.jpg");
}

function differences(found: Found, { expected, picture }: Expected): string[] {
  const faults: string[] = [];
  if (isForPython(expected.path)) {
    const [reason] = found.reasons;
    return found.decision === "error" && reason?.cause === "not-in-browser" ? [] : [`not refused: ${found.decision}`];
  }
  if (found.decision !== expected.decision) faults.push(`decision ${expected.decision} -> ${found.decision}`);
  const [theirs, ours] = [expected, found].map(({ reasons }) =>
    reasons.map(({ code, cause }) => (cause ? `${code}: ${cause}` : code)).join(" | "),
  );
  if (theirs !== ours) faults.push(`reasons: python ${theirs}, browser ${ours}`);
  const [told, ours_] = [expected, found].map(({ findings = {} }) => JSON.stringify(findings));
  if (told !== ours_) faults.push(`findings: python ${told}, browser ${ours_}`);
  if (found.bundle !== expected.bundle) faults.push(`bundle ${found.bundle}`);
  if (!picture || !found.picture) return faults;
  for (const key of ["width", "height", "bits"] as const) {
    if (picture[key] !== found.picture[key]) faults.push(`${key} ${picture[key]} -> ${found.picture[key]}`);
  }
  const notes = [picture, found.picture].map((read) => read.notes.join("; "));
  if (notes[0] !== notes[1]) faults.push(`notes ${notes.join(" -> ")}`);
  const difference = pixelDifference(picture.pixels, found.picture.pixels);
  if (!(difference <= PIXEL_TOLERANCE)) faults.push(`pixels differ by ${difference}`);
  return faults;
}

function pixelDifference(expected: number[], found: number[]): number {
  if (expected.length !== found.length) return NaN;
  return Math.max(...expected.map((value, at) => Math.abs(value - found[at]!)));
}

function largest(found: Found, { expected }: Expected): number {
  const labels = Object.keys(expected.probabilities);
  if (labels.join() !== Object.keys(found.probabilities).join()) return NaN;
  return Math.max(0, ...labels.map((label) => Math.abs(found.probabilities[label]! - expected.probabilities[label]!)));
}

async function openIn(page: Page, url: string, modelUrl = `/model/${BUNDLE}`): Promise<number> {
  await page.goto(`${url}/index.html`);
  return page.evaluate(async (address) => {
    const scope = globalThis as never as {
      openEngine: typeof import("../../src/core/api").openEngine;
      engine: import("../../src/core/api").Engine;
    };
    scope.engine = await scope.openEngine({ modelUrl: address });
    return scope.engine.threads;
  }, modelUrl);
}

for (const isolated of [false, true]) {
  test.describe(isolated ? "several threads" : "one thread", () => {
    let serving: Serving;
    test.beforeAll(async () => {
      serving = await serve({ folders: { "/model/": WEIGHTS, "/": HARNESS }, isolated, policy: POLICY });
    });
    test.afterAll(() => serving.close());

    test("the golden vectors give the golden outputs", async ({ page }) => {
      const golden = JSON.parse(readFileSync(join(SCRATCH, "golden.json"), "utf8")) as { inputs: unknown[] };
      await page.goto(`${serving.url}/index.html`);
      const found = await page.evaluate(
        (options) => (globalThis as never as { checkGolden(options: object): Promise<unknown> }).checkGolden(options),
        { modelUrl: `/model/${BUNDLE}`, threads: isolated ? 2 : 1, golden },
      );
      const { pictures, worst } = found as { pictures: number; worst: Record<string, number> };
      console.log(`${pictures} golden vectors, largest differences ${JSON.stringify(worst)}`);
      expect(pictures).toBe(golden.inputs.length);
      for (const difference of Object.values(worst)) expect(difference).toBeLessThan(GOLDEN_TOLERANCE);
    });

    test("every file gets Python's answer", async ({ page }) => {
      test.setTimeout(900_000); // hundreds of files, also on a busy machine
      const threads = await openIn(page, serving.url);
      if (isolated && availableParallelism() > 1) expect(threads).toBeGreaterThan(1);
      else expect(threads).toBe(1);
      const faults: string[] = [];
      let worst = 0;
      let noveltyWorst = 0;
      const pixels: string[] = [];
      const all = expectedAnswers().filter(
        ({ file }, index) => wanted(file) && (!isolated || real(file) || index % 8 === 0),
      );
      for (const expected of all) {
        const found = await answerFor(page, expected);
        const difference = largest(found, expected);
        if (difference > worst) worst = difference;
        noveltyWorst = Math.max(noveltyWorst, Math.abs((found.novelty ?? 0) - (expected.expected.novelty ?? 0)));
        const wrong = differences(found, expected);
        const [theirs, ours] = [expected.picture, found.picture];
        const seen = theirs && ours && pixelDifference(theirs.pixels, ours.pixels);
        if (seen) pixels.push(`${basename(expected.file)} ${seen.toExponential(1)}`);
        if (!(difference <= TOLERANCE)) wrong.push(`probabilities differ by ${difference}`);
        if (wrong.length) faults.push(`${basename(expected.file)}\n    ${wrong.join("\n    ")}`);
      }
      console.log(
        `${all.length} files, ${threads} threads: probabilities differ by ${worst.toExponential(1)} at most, ` +
          `novelty by ${noveltyWorst.toExponential(1)}; pixels differ in ${pixels.join(", ") || "no file"}`,
      );
      expect(faults, faults.join("\n")).toEqual([]);
    });
  });
}

test("a bundle of several findings gets Python's answer on each of them", async ({ page }) => {
  test.setTimeout(300_000);
  const serving = await serve({ folders: { "/several/": SCRATCH, "/": HARNESS }, policy: POLICY, isolated: true });
  await openIn(page, serving.url, "/several/findings.onnx");
  const faults: string[] = [];
  const said = new Set<string>();
  let worst = 0;
  for (const expected of expectedAnswers("expected-findings").filter((one, index) => one.expected.findings || index % 8 === 0)) {
    const found = await answerFor(page, expected);
    for (const one of Object.values(found.findings ?? {})) said.add(one);
    worst = Math.max(worst, largest(found, expected));
    const wrong = differences(found, expected);
    if (!(largest(found, expected) <= TOLERANCE)) wrong.push("probabilities differ");
    if (wrong.length) faults.push(`${basename(expected.file)}\n    ${wrong.join("\n    ")}`);
  }
  await serving.close();
  console.log(`probabilities of findings differ by ${worst.toExponential(1)} at most`);
  expect(faults, faults.join("\n")).toEqual([]);
  expect([...said].sort()).toEqual(["absent", "present", "uncertain"]);
});
