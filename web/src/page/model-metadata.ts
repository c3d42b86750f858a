/** Reads from a manifest what the page shows: calibration error, failed audit criteria, operating points. */

import type { Manifest, OperatingPoint, Prediction } from "../core/api";
import { quantityOf } from "./former-criteria";

export interface Calibration {
  /** Average gap between the leading class's probability and how often it was right, in points of 100. */
  readonly points: number;
  readonly images: number;
}

/** Test figures: of the model, or of one finding where images may have several. */
function figuresOf({ findings, metrics }: Manifest, label: string): Record<string, unknown> {
  if (!findings) return metrics;
  const all = metrics["findings"];
  const own = isTable(all) && Object.hasOwn(all, label) ? all[label] : null;
  return isTable(own) ? own : {};
}

/** The measured calibration error, or null where the manifest has none. */
export function calibrationOf(manifest: Manifest, label = manifest.positive): Calibration | null {
  const figures = figuresOf(manifest, label);
  const value = numberAt(figures, "overall", "ece", "value");
  const images = numberAt(figures, "images");
  return value === null || images === null ? null : { points: 100 * value, images };
}

/**
 * Share of the positive class, or of a finding, in the test data, for which the probabilities hold; null where the
 * manifest does not tell.
 *
 * A predictive value is a sensitivity and a specificity at a prevalence: the three that were measured there give it.
 */
export function testPrevalence(manifest: Manifest, of = manifest.positive): number | null {
  for (const { name, label } of manifest.operating_points) {
    const [ppv, sensitivity, specificity] = ["ppv", "sensitivity", "specificity"].map((measure) =>
      numberAt(figuresOf(manifest, of), "overall", `${measure}@${name}`, "value"),
    );
    if (label !== of || ppv == null || sensitivity == null || specificity == null) continue;
    const ill = ppv * (1 - specificity);
    const share = ill / (ill + (1 - ppv) * sensitivity);
    if (share > 0 && share < 1) return share;
  }
  return null;
}

/** A criterion that the audit failed; of bundles of earlier versions only the title is known. */
export interface FailedCriterion {
  readonly title: string;
  readonly key: string;
  /** Kind of what follows for an image. */
  readonly meaning: string;
  readonly unit: string;
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly limit: { readonly bound: "most" | "least"; readonly value: number } | null;
}

/** The criteria of the audit that this model failed, as its name, its record or its limits say; null where it passed. */
export function failedAudit(manifest: Manifest): readonly FailedCriterion[] | null {
  const audit = manifest.run["audit"];
  const record = isTable(audit) ? audit : {};
  const list = (key: string): unknown[] => (Array.isArray(record[key]) ? (record[key] as unknown[]) : []);
  const found = list("failures").filter(isTable).map(criterionOf);
  const titles = ["failed_criteria", "failed_data_criteria", "failed_gates", "failed_data_gates"] // of earlier versions
    .flatMap(list)
    .filter((name): name is string => typeof name === "string")
    .map((name) => criterionOf({ title: quantityOf(name) }));
  const said = [manifest.name, ...manifest.limits].some((text) => /FAILED ITS AUDIT/i.test(text));
  const criteria = [...found, ...titles];
  return said || criteria.length > 0 ? criteria : null;
}

function criterionOf(table: Record<string, unknown>): FailedCriterion {
  const text = (key: string): string => (typeof table[key] === "string" ? (table[key] as string) : "");
  const number = (key: string): number | null => numberAt(table, key);
  const [most, least] = [number("at_most"), number("at_least")];
  const limit = most !== null ? ({ bound: "most", value: most } as const) : least !== null ? ({ bound: "least", value: least } as const) : null;
  const [key, meaning, title, unit] = ["key", "meaning", "title", "unit"].map(text) as [string, string, string, string];
  return { key, meaning, title, unit, value: number("value"), low: number("low"), high: number("high"), limit };
}

/** Least probability at which a class stays in the conformal set. */
export function neededProbability(manifest: Manifest): number {
  return 1 - manifest.conformal_quantile;
}

export function possibleLabels(probabilities: Record<string, number>, manifest: Manifest): string[] {
  const needed = neededProbability(manifest);
  return manifest.labels.filter((label) => (probabilities[label] ?? 0) >= needed);
}

/** Operating points of a label, or all where classes exclude each other. */
export function pointsOf(manifest: Manifest, label: string): readonly OperatingPoint[] {
  return manifest.operating_points.filter((point) => !manifest.findings || point.label === label);
}

export function pointNamed(points: readonly OperatingPoint[], name: string): OperatingPoint | null {
  return points.find((point) => point.name === name) ?? points[0] ?? null;
}

/**
 * The label whose probability and heatmap are shown first: the decided one, or the positive one where the model is
 * uncertain; of several findings the chosen one, or the most probable (Python: `inference.saliency.shown_label`).
 */
export function shownLabel({ decision, probabilities }: Prediction, manifest: Manifest, finding: string | null): string {
  if (manifest.findings) return finding ?? manifest.labels.reduce((best, label) => (probabilities[label]! > probabilities[best]! ? label : best));
  return manifest.labels.includes(decision) ? decision : manifest.positive;
}

/** The label that has a number and a prevalence: the positive class, or of several findings the one that is looked at. */
export function numberedLabel(prediction: Prediction, manifest: Manifest, finding: string | null): string {
  return manifest.findings ? shownLabel(prediction, manifest, finding) : manifest.positive;
}

function numberAt(table: Record<string, unknown>, ...path: string[]): number | null {
  let value: unknown = table;
  for (const key of path) value = isTable(value) ? value[key] : undefined;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
