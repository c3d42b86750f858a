/** The slider of the prevalence among the reader's patients, and the one probability that moves with it. */

import type { Manifest, Prediction } from "../../core/api";
import { fill, h, sentence, type Child } from "../dom";
import { testPrevalence } from "../model-metadata";
import { PREVALENCE_STEPS, atPrevalence, prevalenceAt, stepOf } from "./predictive-values";
import type { State, Store } from "../state";

const USUAL = 0.05;

/** The prevalence that the reader set for a label; until then a low one, and of a finding that of the test data. */
export function prevalenceOf({ prevalences }: State, manifest: Manifest, label: string): number {
  if (Object.hasOwn(prevalences, label)) return prevalences[label]!;
  return (manifest.findings && testPrevalence(manifest, label)) || USUAL;
}

/** Probability of a label at its prevalence; as the model gives it where the test data's prevalence is unknown. */
export function shownProbability(prediction: Prediction, manifest: Manifest, state: State, label: string): number {
  const probability = prediction.probabilities[label] ?? 0;
  const from = testPrevalence(manifest, label);
  return from === null ? probability : atPrevalence(probability, from, prevalenceOf(state, manifest, label));
}

/** Whether the result says that the image has the label; null where it is uncertain. */
export function resultSays({ decision, findings }: Prediction, manifest: Manifest, label: string): boolean | null {
  const own = manifest.findings ? findings[label] : decision;
  return own === "uncertain" ? null : own === (manifest.findings ? "present" : label);
}

/** What the number is: of which label, at which prevalence. */
export function numberName(manifest: Manifest, state: State, label: string): Child {
  const texts = state.locale.texts.probabilities;
  const prevalence = state.locale.percent(prevalenceOf(state, manifest, label));
  const name = testPrevalence(manifest, label) === null ? texts.asGiven : (one: string): string => texts.atPrevalence(one, prevalence);
  return sentence(name, state.locale.label(label));
}

/** The number in large digits, what it is, and whether it speaks against the result. */
export function numberOf(prediction: Prediction, manifest: Manifest, state: State, label: string): Child {
  const { locale } = state;
  const texts = locale.texts.probabilities;
  const from = testPrevalence(manifest, label);
  const probability = shownProbability(prediction, manifest, state, label);
  const says = resultSays(prediction, manifest, label);
  const against = says !== null && from !== null && says !== probability >= 0.5;
  return [
    h("p", { class: "number" }, h("strong", { "data-share": String(probability) }, locale.percent(probability)), " ", numberName(manifest, state, label)),
    against && h("p", { class: "against" }, sentence((one) => texts.against(one, locale.percent(from)), locale.label(label))),
  ];
}

/** The number with its slider; alone where the prevalence in the test data is unknown, so that no other can be set. */
export function prevalenceField(store: Store, manifest: Manifest, prediction: Prediction, label: string): Child {
  const number = h("div", {});
  const show = (): void => fill(number, numberOf(prediction, manifest, store.state, label));
  show();
  return [number, testPrevalence(manifest, label) !== null && sliderOf(store, manifest, label, show)];
}

function sliderOf(store: Store, manifest: Manifest, label: string, moved: () => void): HTMLElement {
  const id = "prevalence";
  const value = h("output", { for: id, class: "value" });
  const input = h("input", { id, type: "range", min: 0, max: PREVALENCE_STEPS, step: 1 });
  input.value = String(stepOf(prevalenceOf(store.state, manifest, label)));
  const tell = (): void => {
    value.textContent = store.state.locale.percent(prevalenceOf(store.state, manifest, label));
    input.setAttribute("aria-valuetext", value.textContent);
  };
  input.addEventListener("input", () => {
    store.set({ prevalences: { ...store.state.prevalences, [label]: prevalenceAt(Number(input.value)) } });
    tell();
    moved();
  });
  tell();
  return h("div", { class: "field prevalence" }, h("label", { for: id }, store.state.locale.texts.operatingPoints.prevalence, ": ", value), input);
}
