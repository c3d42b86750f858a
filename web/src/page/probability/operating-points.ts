/** Operating points: how good a threshold is among patients like the reader's; folded, for it is not of this image. */

import type { Manifest, OperatingPoint } from "../../core/api";
import type { Locale } from "../../locales";
import { predictiveValues } from "./predictive-values";
import { fill, h, original, sentence, type Child } from "../dom";
import { pointNamed } from "../model-metadata";
import { engineOf, onSelectedEntry, selectedEntry, type Entry, type Store } from "../state";

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
    if (manifest.operating_points.length === 0) return fill(element, heading, h("p", { class: "note" }, texts.absent));
    fill(element, h("details", {}, h("summary", {}, heading), choices(manifest), outcome));
    refresh();
  }

  function choices(manifest: Manifest): HTMLElement {
    const { locale, point } = store.state;
    const texts = locale.texts.operatingPoints;
    return h(
      "fieldset", {},
      h("legend", {}, texts.purpose),
      manifest.operating_points.map((one) => {
        const id = `point-${one.name}`;
        const input = h("input", { type: "radio", name: "point", id, value: one.name, checked: one.name === point });
        input.addEventListener("change", () => store.set({ point: one.name }));
        const explained = Object.hasOwn(texts.explained, one.name) ? ` (${texts.explained[one.name]})` : "";
        return h("div", { class: "field check" }, input, h("label", { for: id }, h("strong", {}, locale.point(one.name)), explained));
      }),
    );
  }

  function refresh(): void {
    const { locale, point, prevalence } = store.state;
    const manifest = engineOf(store.state)?.manifest;
    const entry = selectedEntry(store.state);
    const chosen = manifest && pointNamed(manifest, point);
    if (chosen && entry) fill(outcome, outcomeOf(entry, chosen, prevalence, locale));
  }

  store.on(["locale", "model"], build);
  onSelectedEntry(store, build);
  store.on(["point", "prevalence"], refresh);
  build();
  return element;
}

function outcomeOf(entry: Entry, point: OperatingPoint, prevalence: number, locale: Locale): Child {
  const texts = locale.texts.operatingPoints;
  const label = locale.label(point.label);
  const probability = entry.prediction?.probabilities[point.label] ?? 0;
  const called = probability >= point.threshold;
  const { positive, negative, ill, found, missed, alarms } = predictiveValues(prevalence, point.sensitivity, point.specificity);
  const decision = entry.prediction?.decision ?? "";
  const differs = decision !== "uncertain" && called !== (decision === point.label);
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
