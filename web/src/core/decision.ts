/** From the network's outputs to one answer, with reasons in plain words (Python: `inference.predictor`). */

import type { Manifest, Prediction, Reason } from "./api";
import { fixed, percent } from "./python-format";

const NOVELTY_CUT_OFF = 1; // the graph divides by the bundle's cut-off

/** Outputs of the graph for one picture; `saliency` [classes, rows, columns]. */
export interface Outputs {
  probabilities: Float32Array;
  novelty: number;
  saliency: { data: Float32Array; rows: number; columns: number };
  inputKind: Float32Array | null;
}

/** The part of an answer that depends on the picture. */
export type Answer = Pick<Prediction, "decision" | "probabilities" | "novelty" | "reasons" | "saliency">;

export function refused(reasons: Reason[], novelty: number | null = null): Answer {
  return { decision: "refused", probabilities: {}, novelty, reasons, saliency: null };
}

export function answer(outputs: Outputs, manifest: Manifest): Answer {
  const { probabilities, novelty } = outputs;
  const reasons = kindReasons(outputs, manifest);
  // written so that NaN is refused too
  if (!(novelty <= NOVELTY_CUT_OFF && probabilities.every(Number.isFinite))) reasons.push(noveltyReason(novelty));
  if (reasons.length) return refused(reasons, novelty);
  const named = Object.fromEntries(manifest.labels.map((label, index) => [label, probabilities[index]!]));
  return { ...decide(named, manifest), probabilities: named, novelty, saliency: mapsOf(outputs, manifest) };
}

/** The learned gate's reason against a picture, if the bundle has such a gate. */
function kindReasons({ inputKind }: Outputs, { input_gate: gate }: Manifest): Reason[] {
  if (!gate || !inputKind) return [];
  const kinds = gate.kinds.map((kind, index) => ({ kind, probability: inputKind[index]! }));
  const accepted = kinds.find(({ kind }) => kind === gate.accept)?.probability ?? NaN;
  if (accepted >= gate.threshold) return [];
  const others = kinds.filter(({ kind }) => kind !== gate.accept);
  const likeliest = others.reduce((best, other) => (other.probability > best.probability ? other : best)).kind;
  return [{ code: likeliest, words: gate.words[likeliest] ?? likeliest }];
}

function noveltyReason(novelty: number): Reason {
  const words =
    "unlike the pictures that the model was trained on " +
    `(novelty ${fixed(novelty, 2)}, cut-off ${fixed(NOVELTY_CUT_OFF, 2)})`;
  return { code: "novel", words };
}

/** A label when exactly one class stays in the conformal set, otherwise `uncertain` with the reason. */
export function decide(
  probabilities: Record<string, number>,
  manifest: Manifest,
): { decision: string; reasons: Reason[] } {
  const needed = 1 - manifest.conformal_quantile;
  const possible = manifest.labels.filter((label) => probabilities[label]! >= needed);
  if (possible.length === 1) return { decision: possible[0]!, reasons: [] };
  const coverage = percent(manifest.conformal_coverage);
  if (possible.length) {
    const words = `cannot choose between ${possible.join(" and ")} and still be right ${coverage} of the time`;
    return { decision: "uncertain", reasons: [{ code: "several-classes", words }] };
  }
  const words = `no class is probable enough: ${fixed(needed, 2)} is needed to be right ${coverage} of the time`;
  return { decision: "uncertain", reasons: [{ code: "no-class", words }] };
}

function mapsOf({ saliency }: Outputs, { labels }: Manifest): Prediction["saliency"] {
  const { data, rows, columns } = saliency;
  const cells = rows * columns;
  const maps = labels.map((label, index) => [label, data.slice(index * cells, (index + 1) * cells)] as const);
  return { rows, columns, maps: Object.fromEntries(maps) };
}
