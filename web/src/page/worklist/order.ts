/** Which files the worklist shows, and in which order. */

import type { Manifest } from "../../core/api";
import { positiveProbability } from "../probability/prevalence";
import { engineOf, type Entry, type Order, type State } from "../state";

export const EVERYTHING: Order = { by: "added", result: "", least: 0 };

/** What a file is filtered and sorted by: its decision, `failed`, or nothing before it is answered. */
export function resultOf(entry: Entry): string {
  return entry.state === "failed" ? "failed" : (entry.prediction?.decision ?? "");
}

/** Probability of the positive class at the chosen prevalence, as the result shows it; null where none was given. */
export function probabilityOf({ prediction }: Entry, manifest: Manifest, prevalence: number): number | null {
  return prediction && manifest.positive in prediction.probabilities ? positiveProbability(prediction, manifest, prevalence) : null;
}

export function listed(state: State): readonly Entry[] {
  const { entries, order, prevalence } = state;
  const manifest = engineOf(state)?.manifest;
  const value = (entry: Entry): number | null => (manifest ? probabilityOf(entry, manifest, prevalence) : null);
  const shown = entries.filter(
    (entry) => (!order.result || resultOf(entry) === order.result) && (order.least === 0 || (value(entry) ?? -1) >= order.least),
  );
  switch (order.by) {
    case "added":
      return shown;
    case "name":
      return shown.toSorted((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    case "result": // those without a result last; the likeliest first within a result
      return shown.toSorted((a, b) => (resultOf(a) || "\uffff").localeCompare(resultOf(b) || "\uffff") || (value(b) ?? -1) - (value(a) ?? -1));
    case "highest":
      return shown.toSorted((a, b) => (value(b) ?? -1) - (value(a) ?? -1));
    case "lowest":
      return shown.toSorted((a, b) => (value(a) ?? 2) - (value(b) ?? 2));
  }
}
