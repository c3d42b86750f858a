/** The one number, the bars with the line that makes the decision, and the calibration with where it holds. */

import type { Manifest, Prediction } from "../../core/api";
import type { Locale } from "../../locales";
import { h, isolated, sentence, type Child } from "../dom";
import { calibrationOf, neededProbability, possibleLabels, testPrevalence } from "../model-metadata";
import { numberOf } from "./prevalence";

/** @param field the number with its slider, where it can be moved; null prints the number alone. */
export function probabilitiesOf(
  prediction: Prediction,
  manifest: Manifest,
  prevalence: number,
  locale: Locale,
  field: ((prediction: Prediction) => Child) | null = null,
): Child {
  const texts = locale.texts.probabilities;
  const needed = neededProbability(manifest);
  const [line, coverage] = [locale.percent(needed), locale.percent(manifest.conformal_coverage)];
  return [
    field ? field(prediction) : numberOf(prediction, manifest, prevalence, locale),
    h("h3", {}, texts.heading),
    h("dl", { class: "bars" }, barsOf(prediction, manifest, locale)),
    h("p", { class: "rule" }, texts.rule(line)),
    h("p", { class: "calibration" }, texts.coverage(coverage), " ", calibration(manifest, locale), " ", texts.sum),
  ];
}

/** A bar for each class in the bundle's order, with the line that it must reach to stay possible. */
function barsOf(prediction: Prediction, manifest: Manifest, locale: Locale): Child {
  const texts = locale.texts.probabilities;
  const possible = new Set(possibleLabels(prediction.probabilities, manifest));
  return manifest.labels.map((label) => {
    const share = prediction.probabilities[label] ?? 0;
    const line = h("span", { class: "line" });
    line.style.insetInlineStart = `${100 * neededProbability(manifest)}%`; // by code: the policy forbids the attribute
    return h(
      "div", { class: possible.has(label) ? "bar possible" : "bar", "data-share": String(share) },
      h("dt", {}, isolated(locale.label(label))),
      h(
        "dd", {},
        h("span", { class: "value" }, possible.has(label) ? texts.possible : texts.below),
        h("div", { class: "track", "aria-hidden": "true" }, h("meter", { min: 0, max: 1, value: share }), line),
      ),
    );
  });
}

function calibration(manifest: Manifest, locale: Locale): Child {
  const texts = locale.texts.probabilities;
  const [found, prevalence] = [calibrationOf(manifest), testPrevalence(manifest)];
  if (!found) return texts.notMeasured;
  const [gap, images] = [locale.number(found.points, 1), locale.number(found.images)];
  const measured = texts.measured(gap, images);
  if (prevalence === null) return [measured, " ", texts.onlyAlike];
  return [measured, " ", sentence((name) => texts.onlyAlikeMix(name, locale.percent(prevalence)), locale.label(manifest.positive))];
}
