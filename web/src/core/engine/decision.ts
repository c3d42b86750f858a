/** Makes the decision and its reasons from the network's outputs (Python: `inference.predictor`). */

import type { FindingDecision, Manifest, Prediction, Reason } from "../types";

const NOVELTY_CUT_OFF = 1; // the graph divides by the bundle's cut-off
export const SEPARATOR = "|"; // between findings (Python: `vocabulary.SEPARATOR`)

/** Outputs of the graph for one picture; `saliency` [classes, rows, columns]. */
export interface Outputs {
  probabilities: Float32Array;
  novelty: number;
  saliency: { data: Float32Array; rows: number; columns: number };
  inputKind: Float32Array | null;
}

/** The part of an answer that depends on the picture. */
export type Answer = Pick<Prediction, "decision" | "findings" | "probabilities" | "novelty" | "reasons" | "saliency"> & {
  accepted: number | null;
};

export function refused(reasons: Reason[], novelty: number | null = null, accepted: number | null = null): Answer {
  return { decision: "refused", findings: {}, probabilities: {}, novelty, accepted, reasons, saliency: null };
}

export function answer(outputs: Outputs, manifest: Manifest): Answer {
  const { probabilities, novelty } = outputs;
  const { accepted, reasons } = kindOf(outputs, manifest);
  const whole = Number.isFinite(novelty) && probabilities.every(Number.isFinite);
  if (!whole || novelty > NOVELTY_CUT_OFF) {
    reasons.push({ code: "novel", detail: whole ? `${novelty.toFixed(2)} > ${NOVELTY_CUT_OFF}` : "NaN" });
  }
  if (reasons.length) return refused(reasons, novelty, accepted);
  const named = Object.fromEntries(manifest.labels.map((label, index) => [label, probabilities[index]!]));
  const decided = manifest.findings ? combined(decideFindings(named, manifest)) : { ...decide(named, manifest), findings: {} };
  return { ...decided, probabilities: named, novelty, accepted, saliency: mapsOf(outputs, manifest) };
}

/** Probability of the accepted kind by the learned input filter, and its reason against this image, if any. */
function kindOf(
  { inputKind }: Outputs,
  { input_gate: filter }: Manifest,
): { accepted: number | null; reasons: Reason[] } {
  if (!filter || !inputKind) return { accepted: null, reasons: [] };
  const kinds = filter.kinds.map((kind, index) => ({ kind, probability: inputKind[index]! }));
  const accepted = kinds.find(({ kind }) => kind === filter.accept)!.probability;
  if (accepted >= filter.threshold) return { accepted, reasons: [] };
  const others = kinds.filter(({ kind }) => kind !== filter.accept);
  const likeliest = others.reduce((best, other) => (other.probability > best.probability ? other : best)).kind;
  return { accepted, reasons: [{ code: likeliest, detail: filter.words[likeliest]! }] };
}

/** A label when exactly one class stays in the conformal set, otherwise `uncertain` with the reason. */
export function decide(
  probabilities: Record<string, number>,
  manifest: Manifest,
): { decision: string; reasons: Reason[] } {
  const needed = 1 - manifest.conformal_quantile;
  const possible = manifest.labels.filter((label) => probabilities[label]! >= needed);
  if (possible.length === 1) return { decision: possible[0]!, reasons: [] };
  return { decision: "uncertain", reasons: [{ code: possible.length ? "several-classes" : "no-class" }] };
}

/** Each finding is present or absent where only that answer stays in its own conformal set, otherwise uncertain. */
export function decideFindings(probabilities: Record<string, number>, { findings = [] }: Manifest): Record<string, FindingDecision> {
  return Object.fromEntries(findings.map(({ label, conformal_quantile }) => {
    const [needed, probability] = [1 - conformal_quantile, probabilities[label]!];
    const [present, absent] = [probability >= needed, 1 - probability >= needed];
    return [label, present === absent ? "uncertain" : present ? "present" : "absent"];
  }));
}

/** Decision of an image from those of its findings, with a reason that names the uncertain ones. */
export function combined(findings: Record<string, FindingDecision>): Pick<Answer, "decision" | "findings" | "reasons"> {
  const [present, doubtful] = (["present", "uncertain"] as const).map((kind) => Object.keys(findings).filter((label) => findings[label] === kind)) as [string[], string[]];
  const reasons = doubtful.length ? [{ code: "uncertain-findings", detail: doubtful.join(", ") }] : [];
  return { decision: present.length ? present.join(SEPARATOR) : doubtful.length ? "uncertain" : "none", findings, reasons };
}

function mapsOf({ saliency }: Outputs, { labels }: Manifest): Prediction["saliency"] {
  const { data, rows, columns } = saliency;
  const cells = rows * columns;
  const maps = labels.map((label, index) => [label, data.slice(index * cells, (index + 1) * cells)] as const);
  return { rows, columns, maps: Object.fromEntries(maps) };
}
