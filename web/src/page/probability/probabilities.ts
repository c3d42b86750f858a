/** How the result is made: bars with the line, and the calibration with where it holds. */

import type { Manifest, Prediction } from "../../core/api";
import type { Locale } from "../../locales";
import { h, isolated, sentence, type Child } from "../dom";
import { calibrationOf, neededProbability, possibleLabels, testPrevalence } from "../model-metadata";

/** The bars with the line that makes the decision, the rule, and the calibration. */
export function ruleOf(prediction: Prediction, manifest: Manifest, locale: Locale): Child {
  const texts = locale.texts.probabilities;
  const needed = neededProbability(manifest);
  const [line, coverage] = [locale.percent(needed), locale.percent(manifest.conformal_coverage)];
  return [
    h("h3", {}, texts.heading),
    h("dl", { class: "bars" }, barsOf(prediction, manifest, locale)),
    h("p", { class: "rule" }, texts.rule(line)),
    h("p", { class: "calibration" }, texts.coverage(coverage), " ", calibrationText(manifest, manifest.positive, locale), " ", texts.sum),
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

/** How wrong the probabilities of a label were on average, and for which patients that holds. */
export function calibrationText(manifest: Manifest, label: string, locale: Locale): Child {
  const texts = locale.texts.probabilities;
  const [found, prevalence] = [calibrationOf(manifest, label), testPrevalence(manifest, label)];
  if (!found) return texts.notMeasured;
  const [gap, images] = [locale.number(found.points, 1), locale.number(found.images)];
  const measured = texts.measured(gap, images);
  if (prevalence === null) return [measured, " ", texts.onlyAlike];
  return [measured, " ", sentence((name) => texts.onlyAlikeMix(name, locale.percent(prevalence)), locale.label(label))];
}
