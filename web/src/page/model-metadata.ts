/** Reads from a manifest what the page shows: calibration error, failed audit criteria, operating points. */

import type { Manifest, OperatingPoint } from "../core/api";
import { quantityOf } from "./former-criteria";

export interface Calibration {
  /** Average gap between the leading class's probability and how often it was right, in points of 100. */
  readonly points: number;
  readonly images: number;
}

/** The measured calibration error, or null where the manifest has none. */
export function calibrationOf(manifest: Manifest): Calibration | null {
  const value = numberAt(manifest.metrics, "overall", "ece", "value");
  const images = numberAt(manifest.metrics, "images");
  return value === null || images === null ? null : { points: 100 * value, images };
}

/**
 * Share of the positive class in the test data, for which the probabilities hold; null where the manifest does not tell.
 *
 * A predictive value is a sensitivity and a specificity at a prevalence: the three that were measured there give it.
 */
export function testPrevalence(manifest: Manifest): number | null {
  for (const { name, label } of manifest.operating_points) {
    const [ppv, sensitivity, specificity] = ["ppv", "sensitivity", "specificity"].map((measure) =>
      numberAt(manifest.metrics, "overall", `${measure}@${name}`, "value"),
    );
    if (label !== manifest.positive || ppv == null || sensitivity == null || specificity == null) continue;
    const ill = ppv * (1 - specificity);
    const share = ill / (ill + (1 - ppv) * sensitivity);
    if (share > 0 && share < 1) return share;
  }
  return null;
}

export interface Failure {
  readonly criteria: readonly string[];
}

/** The audit that this model failed, as its name, its record or its limits say; null where it passed. */
export function failedAudit(manifest: Manifest): Failure | null {
  const audit = manifest.run["audit"];
  const record = isTable(audit) ? audit : {};
  const criteria = ["failed_criteria", "failed_data_criteria", "failed_gates", "failed_data_gates"] // of now, of earlier
    .flatMap((key) => (Array.isArray(record[key]) ? (record[key] as unknown[]) : []))
    .filter((name): name is string => typeof name === "string")
    .map(quantityOf);
  const said = [manifest.name, ...manifest.limits].some((text) => /FAILED ITS AUDIT/i.test(text));
  return said || criteria.length > 0 ? { criteria } : null;
}

/** Least probability at which a class stays in the conformal set. */
export function neededProbability(manifest: Manifest): number {
  return 1 - manifest.conformal_quantile;
}

export function possibleLabels(probabilities: Record<string, number>, manifest: Manifest): string[] {
  const needed = neededProbability(manifest);
  return manifest.labels.filter((label) => (probabilities[label] ?? 0) >= needed);
}

export function pointNamed(manifest: Manifest, name: string): OperatingPoint | null {
  return manifest.operating_points.find((point) => point.name === name) ?? manifest.operating_points[0] ?? null;
}

/** The class whose heatmap is shown first: the decided one, or the positive one where the model is uncertain. */
export function shownLabel(decision: string, manifest: Manifest): string {
  return manifest.labels.includes(decision) ? decision : manifest.positive;
}

function numberAt(table: Record<string, unknown>, ...path: string[]): number | null {
  let value: unknown = table;
  for (const key of path) value = isTable(value) ? value[key] : undefined;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
