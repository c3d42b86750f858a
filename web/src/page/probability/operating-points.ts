/** Operating points: how good a threshold is among patients like the reader's; folded, for it is not of this image. */

import type { Manifest, OperatingPoint, Prediction } from "../../core/api";
import { predictiveValues } from "./predictive-values";
import { fill, h, original, sentence, type Child } from "../dom";
import { numberedLabel, pointNamed, pointsOf } from "../model-metadata";
import { prevalenceOf, resultSays } from "./prevalence";
import { engineOf, onSelectedEntry, selectedEntry, type State, type Store } from "../state";

export function makeOperatingPoints(store: Store): HTMLElement {
  const element = h("section", { class: "panel points", "aria-labelledby": "points-heading" });
  const outcome = h("div", { class: "outcome" });

  function build(): void {
    const { locale } = store.state;
    const manifest = engineOf(store.state)?.manifest;
    const entry = selectedEntry(store.state);
    const scored = entry?.prediction && Object.keys(entry.prediction.probabilities).length > 0;
    element.hidden = !manifest || !scored;
    if (!manifest || !scored) return fill(element);
    const texts = locale.texts.operatingPoints;
    const heading = h("h2", { id: "points-heading" }, texts.heading);
    const opened = element.querySelector("details")?.open ?? false;
    const points = pointsOf(manifest, numberedLabel(entry.prediction!, manifest, store.state.finding));
    if (points.length === 0) return fill(element, heading, h("p", { class: "note" }, texts.absent));
    fill(element, h("details", { open: opened }, h("summary", {}, heading), choices(points), outcome));
    refresh();
  }

  function choices(points: readonly OperatingPoint[]): HTMLElement {
    const { locale, point } = store.state;
    const texts = locale.texts.operatingPoints;
    return h(
      "fieldset", {},
      h("legend", {}, texts.purpose),
      points.map((one) => {
        const id = `point-${one.name}`;
        const input = h("input", { type: "radio", name: "point", id, value: one.name, checked: one.name === point });
        input.addEventListener("change", () => store.set({ point: one.name }));
        const explained = Object.hasOwn(texts.explained, one.name) ? ` (${texts.explained[one.name]})` : "";
        return h("div", { class: "field check" }, input, h("label", { for: id }, h("strong", {}, locale.point(one.name)), explained));
      }),
    );
  }

  function refresh(): void {
    const { point, finding } = store.state;
    const manifest = engineOf(store.state)?.manifest;
    const prediction = selectedEntry(store.state)?.prediction;
    if (!manifest || !prediction) return;
    const chosen = pointNamed(pointsOf(manifest, numberedLabel(prediction, manifest, finding)), point);
    if (chosen) fill(outcome, outcomeOf(prediction, chosen, manifest, store.state));
  }

  store.on(["locale", "model", "finding"], build);
  onSelectedEntry(store, build);
  store.on(["point", "prevalences"], refresh);
  build();
  return element;
}

function outcomeOf(prediction: Prediction, point: OperatingPoint, manifest: Manifest, state: State): Child {
  const { locale } = state;
  const texts = locale.texts.operatingPoints;
  const label = locale.label(point.label);
  const probability = prediction.probabilities[point.label] ?? 0;
  const called = probability >= point.threshold;
  const prevalence = prevalenceOf(state, manifest, point.label);
  const { positive, negative, ill, found, missed, alarms } = predictiveValues(prevalence, point.sensitivity, point.specificity);
  const says = resultSays(prediction, manifest, point.label);
  const differs = says !== null && called !== says;
  const outcome = called ? texts.positive : texts.negative;
  const share = (value: number | null): string => (value === null ? "–" : locale.percent(value));
  const figure = (name: string, value: string, help?: string, on = false): HTMLElement =>
    h("div", { class: on ? "figure on" : "figure" }, h("dt", {}, name, help && h("span", { class: "note" }, help)), h("dd", {}, value));
  return [
    h(
      "p", { class: "call", "data-called": String(called) },
      sentence((name) => outcome(name, locale.precise(probability), locale.precise(point.threshold)), label),
    ),
    differs && h("p", {}, texts.differs),
    h(
      "dl", { class: "figures" },
      figure(texts.ppv, share(positive), texts.ppvHelp(label), called),
      figure(texts.npv, share(negative), texts.npvHelp(label), !called),
      figure(texts.sensitivity, locale.percent(point.sensitivity)),
      figure(texts.specificity, locale.percent(point.specificity)),
    ),
    h("p", {}, texts.thousand(...([ill, found, missed, alarms].map((n) => locale.number(n)) as [string, string, string, string]))),
    h("p", { class: "note" }, `${texts.chosenOn}: `, original(point.chosen_on), ". ", texts.caution),
  ];
}
