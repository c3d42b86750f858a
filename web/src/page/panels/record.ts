/** The record of one answer as JSON: the keys of the Python package, and what the page added to them. */

import type { Engine, Prediction } from "../../core/api";
import { LANGUAGES } from "../../locales";
import { reasonsOf, textOf } from "../answers";
import { predictiveValues } from "../probability/predictive-values";
import { failedAudit, pointNamed, pointsOf } from "../model-metadata";
import { prevalenceOf, shownProbability } from "../probability/prevalence";
import type { Entry, State } from "../state";

/** How a file is called where its name is left out: names of files often hold names of people. */
const NAMELESS = "picture";

export function nameIn(entry: Entry, state: State): string {
  return state.typed.withName ? entry.name : NAMELESS;
}

export function recordOf(entry: Entry, engine: Engine, state: State, made: Date): Record<string, unknown> {
  const { manifest } = engine;
  const { prediction } = entry;
  const scored = prediction !== null && Object.keys(prediction.probabilities).length > 0;
  const single = scored && !manifest.findings; // threshold and prevalence of several findings are not one each
  const point = single ? pointNamed(manifest.operating_points, state.point) : null;
  const prevalence = single ? prevalenceOf(state, manifest, manifest.positive) : null;
  const reasons = reasonsOf(entry).map((reason) => ({ ...reason, words: textOf(reason, LANGUAGES.en) }));
  return {
    path: nameIn(entry, state),
    decision: prediction?.decision ?? "error",
    probabilities: prediction?.probabilities ?? {},
    novelty: prediction?.novelty ?? null,
    reasons,
    bundle: engine.identity,
    ...(scored && manifest.findings && { findings: prediction.findings }),
    made: made.toISOString(),
    file_sha256: entry.sha256,
    typed: { patient: state.typed.patient, notes: state.typed.notes },
    operating_point: point,
    called: scored && point ? (prediction.probabilities[point.label] ?? 0) >= point.threshold : null,
    prevalence,
    probability_at_prevalence: single ? shownProbability(prediction, manifest, state, manifest.positive) : null,
    predictive_values: point && prevalence !== null ? predictive(prevalence, point.sensitivity, point.specificity) : null,
    ...(scored && manifest.findings && { at_prevalence: Object.fromEntries(manifest.labels.map((label) => [label, numbersOf(prediction, engine, state, label)])) }),
    model: {
      name: manifest.name,
      version: manifest.version,
      sha256: engine.sha256,
      failed_audit: failedAudit(manifest) !== null,
      intended_use: manifest.intended_use,
      limits: manifest.limits,
      licence: manifest.licence,
    },
    disclaimer: "Research use only. Not a medical device.",
  };
}

/** Prevalence and probability there of one of several findings, and whether it is called at the operating point. */
function numbersOf(prediction: Prediction, { manifest }: Engine, state: State, label: string): Record<string, unknown> {
  const point = pointNamed(pointsOf(manifest, label), state.point);
  return {
    prevalence: prevalenceOf(state, manifest, label),
    probability: shownProbability(prediction, manifest, state, label),
    operating_point: point?.name ?? null,
    called: point ? prediction.probabilities[label]! >= point.threshold : null,
  };
}

function predictive(prevalence: number, sensitivity: number, specificity: number): Record<string, number | null> {
  const { positive, negative } = predictiveValues(prevalence, sensitivity, specificity);
  return { positive, negative };
}
