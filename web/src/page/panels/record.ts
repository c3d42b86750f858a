/** The record of one answer as JSON: the keys of the Python package, and what the page added to them. */

import type { Engine } from "../../core/api";
import { LANGUAGES } from "../../locales";
import { reasonsOf, textOf } from "../answers";
import { predictiveValues } from "../probability/predictive-values";
import { failedAudit, pointNamed } from "../model-metadata";
import { positiveProbability } from "../probability/prevalence";
import type { Entry, State } from "../state";

/** How a file is called where its name is left out: names of files often hold names of people. */
const NAMELESS = "picture";

export function nameIn(entry: Entry, state: State): string {
  return state.typed.withName ? entry.name : NAMELESS;
}

export function recordOf(entry: Entry, engine: Engine, state: State, made: Date): Record<string, unknown> {
  const { manifest } = engine;
  const { prediction } = entry;
  const point = pointNamed(manifest, state.point);
  const scored = prediction !== null && Object.keys(prediction.probabilities).length > 0;
  const reasons = reasonsOf(entry).map((reason) => ({ ...reason, words: textOf(reason, LANGUAGES.en) }));
  return {
    path: nameIn(entry, state),
    decision: prediction?.decision ?? "error",
    probabilities: prediction?.probabilities ?? {},
    novelty: prediction?.novelty ?? null,
    reasons,
    bundle: engine.identity,
    made: made.toISOString(),
    file_sha256: entry.sha256,
    typed: { patient: state.typed.patient, notes: state.typed.notes },
    operating_point: scored ? point : null,
    called: scored && point ? (prediction.probabilities[point.label] ?? 0) >= point.threshold : null,
    prevalence: scored ? state.prevalence : null,
    probability_at_prevalence: scored ? positiveProbability(prediction, manifest, state.prevalence) : null,
    predictive_values: scored && point ? predictive(state.prevalence, point.sensitivity, point.specificity) : null,
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

function predictive(prevalence: number, sensitivity: number, specificity: number): Record<string, number | null> {
  const { positive, negative } = predictiveValues(prevalence, sensitivity, specificity);
  return { positive, negative };
}
