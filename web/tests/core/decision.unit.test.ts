/** From outputs to answers: what no shipped bundle shows yet, and what the files at hand do not. */

import { readFileSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";
import type { Manifest } from "../../src/core/api";
import { verifyBundle } from "../../src/core/bundle";
import { answer, type Outputs } from "../../src/core/decision";

let manifest: Manifest;

beforeAll(async () => {
  const file = new URL("../../../src/pocketcxr/bundle/weights/covid-3class.onnx", import.meta.url);
  manifest = (await verifyBundle(new Uint8Array(readFileSync(file)), "student.onnx")).manifest;
  manifest.conformal_quantile = 0.4;
  manifest.conformal_coverage = 0.9;
});

function outputs(changes: Partial<Outputs> = {}): Outputs {
  const saliency = { data: Float32Array.from({ length: 12 }, (_, at) => at), rows: 2, columns: 2 };
  return { probabilities: Float32Array.of(0.1, 0.2, 0.7), novelty: 0.5, saliency, inputKind: null, ...changes };
}

test("one class in the conformal set is the answer, with a map for each label", () => {
  const found = answer(outputs(), manifest);
  expect(found.decision).toBe("covid19");
  expect(found.reasons).toEqual([]);
  expect([...found.saliency!.maps["pneumonia"]!]).toEqual([4, 5, 6, 7]);
});

test("no class in the conformal set is uncertain", () => {
  const found = answer(outputs({ probabilities: Float32Array.of(0.3, 0.3, 0.4) }), manifest);
  expect(found.decision).toBe("uncertain");
  expect(found.reasons).toEqual([
    { code: "no-class", words: "no class is probable enough: 0.60 is needed to be right 90% of the time" },
  ]);
});

test("a novel picture is refused, and gives no number to misuse", () => {
  const found = answer(outputs({ novelty: 1.5 }), manifest);
  expect(found).toMatchObject({ decision: "refused", probabilities: {}, novelty: 1.5, saliency: null });
  expect(found.reasons[0]!.words).toContain("(novelty 1.50, cut-off 1.00)");
});

test.each([{ novelty: NaN }, { probabilities: Float32Array.of(NaN, 0.5, 0.5) }])("no number is refused: %j", (changes) => {
  expect(answer(outputs(changes), manifest).decision).toBe("refused");
});

test("a bundle with a learned gate refuses by the likeliest other kind", () => {
  const gate = {
    kinds: ["frontal", "lateral", "ct"],
    accept: "frontal",
    threshold: 0.5,
    words: { lateral: "this looks like a side view", ct: "this looks like a CT slice" },
  };
  const gated = { ...manifest, input_gate: gate };
  const refused = answer(outputs({ inputKind: Float32Array.of(0.4, 0.15, 0.45) }), gated);
  expect(refused.decision).toBe("refused");
  expect(refused.reasons).toEqual([{ code: "ct", words: "this looks like a CT slice" }]);
  const both = answer(outputs({ inputKind: Float32Array.of(0.4, 0.15, 0.45), novelty: 2 }), gated);
  expect(both.reasons.map(({ code }) => code)).toEqual(["ct", "novel"]);
  expect(answer(outputs({ inputKind: Float32Array.of(0.5, 0.3, 0.2) }), gated).decision).toBe("covid19");
  expect(answer(outputs({ inputKind: Float32Array.of(NaN, NaN, NaN) }), gated).decision).toBe("refused");
});
