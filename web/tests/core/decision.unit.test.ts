/** From outputs to answers: what no shipped bundle shows yet, and what the files at hand do not. */

import { readFileSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";
import type { Manifest } from "../../src/core/api";
import { verifyBundle } from "../../src/core/engine/bundle";
import { answer, combined, decideFindings, type Outputs } from "../../src/core/engine/decision";

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
  expect(found.reasons).toEqual([{ code: "no-class" }]);
});

test("a novel image is refused without probabilities", () => {
  const found = answer(outputs({ novelty: 1.5 }), manifest);
  expect(found).toMatchObject({ decision: "refused", probabilities: {}, novelty: 1.5, saliency: null });
  expect(found.reasons).toEqual([{ code: "novel", detail: "1.50 > 1" }]);
});

const NO_NUMBERS = [{ novelty: NaN }, { probabilities: Float32Array.of(NaN, 0.5, 0.5) }];

test.each(NO_NUMBERS)("outputs that are no numbers are refused: %j", (changes) => {
  const found = answer(outputs(changes), manifest);
  expect(found.decision).toBe("refused");
  expect(found.reasons).toEqual([{ code: "novel", detail: "NaN" }]);
});

test("a bundle with a learned input filter refuses by the likeliest other kind", () => {
  const filter = {
    kinds: ["frontal", "lateral", "ct"],
    accept: "frontal",
    threshold: 0.5,
    words: { lateral: "this looks like a side view", ct: "this looks like a CT slice" },
  };
  const filtered = { ...manifest, input_gate: filter };
  const refused = answer(outputs({ inputKind: Float32Array.of(0.4, 0.15, 0.45) }), filtered);
  expect(refused.decision).toBe("refused");
  expect(refused.reasons).toEqual([{ code: "ct", detail: "this looks like a CT slice" }]);
  const both = answer(outputs({ inputKind: Float32Array.of(0.4, 0.15, 0.45), novelty: 2 }), filtered);
  expect(both.reasons.map(({ code }) => code)).toEqual(["ct", "novel"]);
  expect(answer(outputs({ inputKind: Float32Array.of(0.5, 0.3, 0.2) }), filtered).decision).toBe("covid19");
  expect(answer(outputs({ inputKind: Float32Array.of(NaN, NaN, NaN) }), filtered).decision).toBe("refused");
});

const finding = (label: string, conformal_quantile: number): object => ({ label, temperature: 1, conformal_quantile });

test("a finding is present or absent where its own set leaves one answer", () => {
  const several = { ...manifest, findings: [finding("edema", 0.3), finding("fracture", 0.7), finding("mass", 0.3)] } as Manifest;
  expect(decideFindings({ edema: 0.8, fracture: 0.5, mass: 0.1 }, several)).toEqual({ edema: "present", fracture: "uncertain", mass: "absent" });
  expect(decideFindings({ edema: 0.5, fracture: 0.9, mass: 0.9 }, several)["edema"]).toBe("uncertain"); // neither is probable enough
  const found = answer(outputs({ probabilities: Float32Array.of(0.8, 0.5, 0.9) }), { ...several, labels: ["edema", "fracture", "mass"] });
  expect(found).toMatchObject({ decision: "edema|mass", reasons: [{ code: "uncertain-findings", detail: "fracture" }] });
  expect(found.probabilities["edema"]).toBeCloseTo(0.8, 6); // they need not sum to 1
});

test("the decision of an image names the findings that are present", () => {
  expect(combined({ edema: "absent", mass: "uncertain" }).decision).toBe("uncertain");
  expect(combined({ edema: "absent", mass: "absent" })).toMatchObject({ decision: "none", reasons: [] });
  expect(combined({ edema: "present", mass: "present" })).toMatchObject({ decision: "edema|mass", reasons: [] });
});
