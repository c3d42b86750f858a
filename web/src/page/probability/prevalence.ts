/** The slider of the prevalence among the reader's patients, and the one probability that moves with it. */

import type { Manifest, Prediction } from "../../core/api";
import type { Locale } from "../../locales";
import { fill, h, sentence, type Child } from "../dom";
import { testPrevalence } from "../model-metadata";
import { PREVALENCE_STEPS, atPrevalence, prevalenceAt, stepOf } from "./predictive-values";
import type { Store } from "../state";

/** Probability of the positive class at a prevalence; as the model gives it where the test data's prevalence is unknown. */
export function positiveProbability(prediction: Prediction, manifest: Manifest, prevalence: number): number {
  const probability = prediction.probabilities[manifest.positive] ?? 0;
  const from = testPrevalence(manifest);
  return from === null ? probability : atPrevalence(probability, from, prevalence);
}

/** The number in large digits, what it is, and whether it speaks against the result. */
export function numberOf(prediction: Prediction, manifest: Manifest, prevalence: number, locale: Locale): Child {
  const texts = locale.texts.probabilities;
  const from = testPrevalence(manifest);
  const probability = positiveProbability(prediction, manifest, prevalence);
  const label = locale.label(manifest.positive);
  const decided = prediction.decision !== "uncertain";
  const against = decided && from !== null && (prediction.decision === manifest.positive) !== probability >= 0.5;
  const name = from === null ? texts.asGiven : (one: string): string => texts.atPrevalence(one, locale.percent(prevalence));
  return [
    h("p", { class: "number" }, h("strong", { "data-share": String(probability) }, locale.percent(probability)), " ", sentence(name, label)),
    against && h("p", { class: "against" }, sentence((one) => texts.against(one, locale.percent(from)), label)),
  ];
}

/** The number with its slider; null where the prevalence in the test data is unknown, so that no other can be set. */
export function prevalenceField(store: Store, manifest: Manifest): ((prediction: Prediction) => Child) | null {
  if (testPrevalence(manifest) === null) return null;
  return (prediction) => {
    const id = "prevalence";
    const texts = store.state.locale.texts.operatingPoints;
    const value = h("output", { for: id, class: "value" });
    const number = h("div", {});
    const input = h("input", { id, type: "range", min: 0, max: PREVALENCE_STEPS, step: 1 });
    input.value = String(stepOf(store.state.prevalence));
    const tell = (): void => {
      const { prevalence, locale } = store.state;
      value.textContent = locale.percent(prevalence);
      input.setAttribute("aria-valuetext", locale.percent(prevalence));
      fill(number, numberOf(prediction, manifest, prevalence, locale));
    };
    input.addEventListener("input", () => {
      store.set({ prevalence: prevalenceAt(Number(input.value)) });
      tell();
    });
    tell();
    return [
      number,
      h("div", { class: "field prevalence" }, h("label", { for: id }, texts.prevalence, ": ", value), input),
    ];
  };
}
