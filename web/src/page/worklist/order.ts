/** Which files the worklist shows, and in which order. */

import type { Manifest } from "../../core/api";
import { numberedLabel } from "../model-metadata";
import { shownProbability } from "../probability/prevalence";
import { engineOf, type Entry, type Order, type State } from "../state";

export const EVERYTHING: Order = { by: "added", result: "", least: 0 };

/**
 * What a file is filtered and sorted by: its decision, `failed`, or nothing before it is answered. Of several findings
 * the decision on the chosen one; without one, whether any is `present`.
 */
export function resultOf(entry: Entry, finding: string | null): string {
  if (entry.state === "failed") return "failed";
  const { decision = "", findings = {} } = entry.prediction ?? {};
  if (finding !== null && Object.hasOwn(findings, finding)) return findings[finding]!;
  return Object.values(findings).includes("present") ? "present" : decision;
}

/** The label that the worklist gives a probability of; null where an image has none. */
export function listedLabel({ prediction }: Entry, manifest: Manifest, finding: string | null): string | null {
  return prediction && manifest.labels[0]! in prediction.probabilities ? numberedLabel(prediction, manifest, finding) : null;
}

/** Probability of that label at the chosen prevalence, as the result shows it; null where none was given. */
export function probabilityOf(entry: Entry, manifest: Manifest, state: State): number | null {
  const label = listedLabel(entry, manifest, state.finding);
  return label === null ? null : shownProbability(entry.prediction!, manifest, state, label);
}

export function listed(state: State): readonly Entry[] {
  const { entries, order, finding } = state;
  const manifest = engineOf(state)?.manifest;
  const value = (entry: Entry): number | null => (manifest ? probabilityOf(entry, manifest, state) : null);
  const result = (entry: Entry): string => resultOf(entry, finding);
  const shown = entries.filter(
    (entry) => (!order.result || result(entry) === order.result) && (order.least === 0 || (value(entry) ?? -1) >= order.least),
  );
  switch (order.by) {
    case "added":
      return shown;
    case "name":
      return shown.toSorted((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    case "result": // those without a result last; the likeliest first within a result
      return shown.toSorted((a, b) => (result(a) || "\uffff").localeCompare(result(b) || "\uffff") || (value(b) ?? -1) - (value(a) ?? -1));
    case "highest":
      return shown.toSorted((a, b) => (value(b) ?? -1) - (value(a) ?? -1));
    case "lowest":
      return shown.toSorted((a, b) => (value(a) ?? 2) - (value(b) ?? 2));
  }
}
