import { describe, expect, it } from "vitest";
import { PREVALENCE_STEPS, atPrevalence, predictiveValues, prevalenceAt, stepOf } from "../../src/page/probability/predictive-values";
import type { Manifest } from "../../src/core/api";
import { failedAudit, testPrevalence } from "../../src/page/model-metadata";
import { enlarge, explanationOf, filledPart, fullColour, heatPixels, inferno } from "../../src/page/viewer/explanation";
import { drawWindowed, presetWindow, pyramidOf, quantilesOf } from "../../src/page/viewer/windowing";
import { lengthOf, scaleOf } from "../../src/page/viewer/measure";
import { FITTED, moved, placeOf, zoomed } from "../../src/page/viewer/viewport";

describe("predictive values", () => {
  it("follow Bayes' rule: 1 % ill, 90 % sensitive, 91 % specific", () => {
    // the textbook case: 9 of 10 ill are called, 89 of 990 others too
    const values = predictiveValues(0.01, 0.9, 0.91);
    expect(values.positive).toBeCloseTo(9 / (9 + 89.1), 10);
    expect(values.negative).toBeCloseTo(900.9 / (900.9 + 1), 10);
    expect([values.ill, values.found, values.missed, values.alarms]).toEqual([10, 9, 1, 89]);
  });

  it("say nothing where nobody is called or everybody is", () => {
    expect(predictiveValues(0.1, 0, 1).positive).toBeNull();
    expect(predictiveValues(0.1, 1, 0).negative).toBeNull();
  });

  it("found and missed add up to the ill at every step", () => {
    for (let step = 0; step <= PREVALENCE_STEPS; step++) {
      const { ill, found, missed } = predictiveValues(prevalenceAt(step), 0.951, 0.692);
      expect(found + missed).toBe(ill);
      expect(missed).toBeGreaterThanOrEqual(0);
    }
  });
});

describe("probability at another prevalence", () => {
  it("is the same at the same prevalence, and follows the odds", () => {
    expect(atPrevalence(0.78, 0.36, 0.36)).toBeCloseTo(0.78, 12);
    // odds 4, of which 1 from 50 %: at 20 % the odds before are 1/4, so 1 after
    expect(atPrevalence(0.8, 0.5, 0.2)).toBeCloseTo(0.5, 12);
    expect([atPrevalence(0, 0.4, 0.9), atPrevalence(1, 0.4, 0.01)]).toEqual([0, 1]);
  });

  it("takes the test data's prevalence from the measured predictive values", () => {
    // 40 of 100 ill: 36 found of them, 6 others called; the manifest states shares only
    const overall = { "ppv@screening": { value: 36 / 42 }, "sensitivity@screening": { value: 0.9 }, "specificity@screening": { value: 0.9 } };
    const manifest = { positive: "covid19", operating_points: [{ name: "screening", label: "covid19" }], metrics: { overall } };
    expect(testPrevalence(manifest as unknown as Manifest)).toBeCloseTo(0.4, 12);
    expect(testPrevalence({ ...manifest, metrics: {} } as unknown as Manifest)).toBeNull();
    expect(testPrevalence({ ...manifest, positive: "normal" } as unknown as Manifest)).toBeNull();
  });
});

describe("prevalence slider", () => {
  it("rises from 0.1 % to 90 %", () => {
    const all = Array.from({ length: PREVALENCE_STEPS + 1 }, (_, step) => prevalenceAt(step));
    expect(all[0]).toBe(0.001);
    expect(all.at(-1)).toBe(0.9);
    all.reduce((before, now) => (expect(now).toBeGreaterThanOrEqual(before), now));
  });

  it("stands near the prevalence it is set to", () => {
    expect(prevalenceAt(stepOf(0.05))).toBeCloseTo(0.05, 2);
  });
});

describe("greys", () => {
  const ramp = Float32Array.from({ length: 16 }, (_, i) => i);
  const grey = (pixels: Uint8ClampedArray, i: number): number => pixels[4 * i]!;

  it("maps the window to black and white, clipped beyond", () => {
    const window = { centre: 8, width: 8, inverted: false };
    const drawn = drawWindowed(pyramidOf(16, 1, ramp), window, { scale: 1, left: 0, top: 0 }, 16, 1);
    expect([grey(drawn, 0), grey(drawn, 4), grey(drawn, 8), grey(drawn, 12), grey(drawn, 15)]).toEqual([0, 0, 128, 255, 255]);
  });

  it("is the negative of itself when inverted", () => {
    const place = { scale: 1, left: 0, top: 0 };
    const plain = drawWindowed(pyramidOf(16, 1, ramp), { centre: 7, width: 11, inverted: false }, place, 16, 1);
    const negative = drawWindowed(pyramidOf(16, 1, ramp), { centre: 7, width: 11, inverted: true }, place, 16, 1);
    for (let i = 0; i < 16; i++) expect(Math.abs(grey(plain, i) + grey(negative, i) - 255)).toBeLessThanOrEqual(1);
  });

  it("leaves what is outside of the picture transparent", () => {
    const drawn = drawWindowed(pyramidOf(16, 1, ramp), { centre: 8, width: 8, inverted: false }, { scale: 1, left: 2, top: 0 }, 4, 1);
    expect([drawn[3], drawn[7], drawn[11], drawn[15]]).toEqual([0, 0, 255, 255]);
  });

  it("shrinks by averages: a checkerboard becomes grey", () => {
    const side = 1024;
    const board = Float32Array.from({ length: side * side }, (_, i) => ((i + Math.floor(i / side)) % 2 ? 255 : 0));
    const drawn = drawWindowed(pyramidOf(side, side, board), { centre: 127.5, width: 255, inverted: false }, { scale: 0.25, left: 0, top: 0 }, 256, 256);
    expect(new Set(drawn.filter((_, i) => i % 4 === 0))).toEqual(new Set([128]));
  });

  it("presets of an inverted picture take the other end of the values", () => {
    const quantiles = quantilesOf(Float32Array.from({ length: 1000 }, (_, i) => i));
    const plain = presetWindow("lungs", { centre: 0, width: 1, inverted: false }, quantiles);
    const inverted = presetWindow("lungs", { centre: 0, width: 1, inverted: true }, quantiles);
    expect(plain.centre).toBeLessThan(500);
    expect(inverted.centre).toBeGreaterThan(500);
    expect(plain.width).toBeCloseTo(inverted.width, 5);
  });

  it("a picture of one value still has a window", () => {
    const quantiles = quantilesOf(new Float32Array(10).fill(3));
    expect(presetWindow("full", { centre: 3, width: 1, inverted: false }, quantiles).width).toBeGreaterThan(0);
  });
});

describe("viewport", () => {
  const picture = { width: 400, height: 200 };
  const canvas = { width: 800, height: 600 };

  it("fits the picture into the canvas, in the middle", () => {
    expect(placeOf(FITTED, picture, canvas)).toEqual({ scale: 2, left: 0, top: 100 });
  });

  it("keeps the point under the hand while zooming", () => {
    const at = { x: 500, y: 350 };
    const before = placeOf(FITTED, picture, canvas);
    const after = placeOf(zoomed(FITTED, 3, at, picture, canvas), picture, canvas);
    expect((at.x - after.left) / after.scale).toBeCloseTo((at.x - before.left) / before.scale, 6);
    expect((at.y - after.top) / after.scale).toBeCloseTo((at.y - before.top) / before.scale, 6);
  });

  it("moves with the hand and never loses the picture", () => {
    const near = zoomed(FITTED, 4, { x: 400, y: 300 }, picture, canvas);
    const moved100 = placeOf(moved(near, 100, 0, picture, canvas), picture, canvas);
    expect(moved100.left - placeOf(near, picture, canvas).left).toBeCloseTo(100, 6);
    expect(moved(near, 1e6, 1e6, picture, canvas)).toMatchObject({ x: 0, y: 0 });
  });
});

describe("heatmap", () => {
  it("enlarges like Pillow's BICUBIC", () => {
    // Image.fromarray(np.float32([[0, 1], [0.5, 0.25]])).resize((4, 4), Image.Resampling.BICUBIC)
    const pillow = [-0.142085, 0.185872, 0.836187, 1.164144, 0.038183, 0.257079, 0.691135, 0.910031, 0.395641, 0.398278, 0.403508, 0.406145, 0.575908, 0.469485, 0.258456, 0.152033];
    const ours = enlarge(Float32Array.of(0, 1, 0.5, 0.25), 2, 2, 4);
    pillow.forEach((value, i) => expect(ours[i]).toBeCloseTo(value, 5));
  });

  it("is the evidence for a class against the others, per temperature; what all share cancels", () => {
    const manifest = { labels: ["a", "b", "c"], temperature: 2 } as Manifest;
    const maps = { a: Float32Array.of(8, 5), b: Float32Array.of(1, 5), c: Float32Array.of(3, 5) };
    const evidence = explanationOf({ rows: 1, columns: 2, maps }, "a", manifest);
    expect([...evidence.values]).toEqual([(8 - (1 + 3) / 2) / 2, 0]);
    expect(fullColour(evidence)).toBe(3);
  });

  it("shows no hot spot where there is little evidence, and nothing where it speaks against", () => {
    const weak = { rows: 1, columns: 2, values: Float32Array.of(0.1, -4) };
    const alphas = heatPixels(weak, 8, 0.7).filter((_, i) => i % 4 === 3);
    expect(Math.max(...alphas)).toBeLessThan(0.1 * 255);
    expect(Math.min(...alphas)).toBe(0);
  });

  it("covers the part of a padded square that the picture fills", () => {
    expect(filledPart(200, 400, "pad")).toEqual([0.25, 0, 0.5, 1]);
    expect(filledPart(200, 400, "squash")).toEqual([0, 0, 1, 1]);
  });

  it("runs from black to yellow", () => {
    expect(inferno(0)).toEqual([0, 0, 4]);
    expect(inferno(1)).toEqual([252, 255, 164]);
  });
});

describe("failed criteria", () => {
  const manifest = (audit: object): Manifest => ({ name: "", limits: [], run: { audit } }) as unknown as Manifest;

  it("are read with value, interval and limit, and what is no number is left out", () => {
    const failure = { key: "unseen.accuracy_drop", title: "Accuracy drop", meaning: "elsewhere", unit: "share", value: 0.225, low: 0.198, high: 0.253, at_most: 0.1 };
    const [one, other] = failedAudit(manifest({ failures: [failure, { ...failure, value: "much", at_most: null, at_least: 0.85 }] }))!;
    expect(one).toMatchObject({ key: "unseen.accuracy_drop", value: 0.225, low: 0.198, limit: { bound: "most", value: 0.1 } });
    expect(other).toMatchObject({ value: null, limit: { bound: "least", value: 0.85 } });
  });


  it("are named by their quantities, also in bundles of earlier versions", () => {
    const earlier = { failed_gates: ["The border does not give the class away"], failed_data_gates: [] };
    const titles = (audit: object): string[] | undefined => failedAudit(manifest(audit))?.map(({ title }) => title);
    expect(titles(earlier)).toEqual(["AUROC of the class from the image border"]);
    expect(titles({ failed_criteria: ["AUROC within one source"] })).toEqual(["AUROC within one source"]);
    expect(failedAudit(manifest({ failed_criteria: [], failures: [] }))).toBeNull();
  });
});

describe("lengths", () => {
  const line = { from: { x: 10, y: 20 }, to: { x: 40, y: 60 } };

  it("are in pixels where no spacing is known, else in millimetres with that of rows and of columns", () => {
    expect(lengthOf(line, null)).toEqual({ length: 50, unit: "pixels" });
    expect(lengthOf(line, "damaged")).toEqual({ length: 50, unit: "pixels" });
    const { length, unit } = lengthOf(line, { row: 0.1, column: 0.2, calibrated: false });
    expect([unit, length.toFixed(10)]).toEqual(["mm", Math.hypot(30 * 0.2, 40 * 0.1).toFixed(10)]);
  });

  it("say whether they are corrected for magnification", () => {
    expect(scaleOf(null)).toBe("pixels");
    expect(scaleOf("damaged")).toBe("damaged");
    expect(scaleOf({ row: 0.1, column: 0.1, calibrated: false })).toBe("detector");
    expect(scaleOf({ row: 0.1, column: 0.1, calibrated: true })).toBe("calibrated");
  });
});
