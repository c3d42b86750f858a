/** The answer panel: the decision in large letters, why, and the probability at the reader's prevalence. */

import type { Manifest, Prediction, Reason } from "../../core/api";
import type { Locale } from "../../locales";
import { SIGNS, headline, isSynthetic, textOf, toneOf } from "../answers";
import { fill, h, isolated, original, sentence, type Child } from "../dom";
import { possibleLabels, shownLabel } from "../model-metadata";
import { findingRows, findingsRule, refreshShares } from "../probability/findings";
import { prevalenceField } from "../probability/prevalence";
import { ruleOf } from "../probability/probabilities";
import { engineOf, onSelectedEntry, selectedEntry, type Entry, type Store } from "../state";

export function makeResult(store: Store): HTMLElement {
  const element = h("section", { class: "panel answer", id: "answer", tabindex: -1, "aria-labelledby": "answer-heading" });

  function build(): void {
    const { locale } = store.state;
    const entry = selectedEntry(store.state);
    const manifest = engineOf(store.state)?.manifest ?? null;
    const heading = h("h2", { id: "answer-heading" }, locale.texts.answer.heading);
    if (!entry) {
      element.dataset["tone"] = "empty";
      fill(element, heading, h("p", { class: "note" }, locale.texts.answer.empty));
      return;
    }
    const tone = toneOf(entry);
    element.dataset["tone"] = tone;
    fill(
      element,
      heading,
      h("p", { class: "for" }, isolated(entry.name)),
      isSynthetic(entry) && tone !== "refused" && h("p", { class: "synthetic" }, h("strong", {}, locale.texts.answer.synthetic), ": ", locale.texts.reasons.synthetic),
      h(
        "p", { class: `decision ${tone}` },
        h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[tone]), " ", headline(entry, locale),
      ),
      bodyOf(entry, manifest, store),
    );
  }

  store.on(["locale", "model", "finding"], build);
  onSelectedEntry(store, build);
  store.on(["prevalences"], (state) => {
    const [prediction, manifest] = [selectedEntry(state)?.prediction, engineOf(state)?.manifest];
    if (prediction && manifest?.findings) refreshShares(element, prediction, manifest, state);
  });
  build();
  return element;
}

function bodyOf(entry: Entry, manifest: Manifest | null, store: Store): Child {
  const { locale } = store.state;
  const texts = locale.texts.answer;
  if (entry.failure) return [reasonList([entry.failure], locale), h("p", { class: "note" }, texts.failedHelp)];
  const { prediction } = entry;
  if (!prediction || !manifest) return null;
  if (toneOf(entry) === "refused") return [h("p", {}, texts.refusedHelp), reasonList(prediction.reasons, locale)];
  const { read, predict } = prediction.milliseconds;
  return [
    manifest.findings ? findingsOf(prediction, manifest, store) : [
      h("p", { class: "why" }, whyOf(prediction, manifest, locale)),
      prevalenceField(store, manifest, prediction, manifest.positive),
      ruleOf(prediction, manifest, locale),
    ],
    toneOf(entry) === "uncertain" && [h("h3", {}, texts.needed), h("ul", { class: "needed" }, texts.neededElse.map((text) => h("li", {}, text)))],
    h("p", { class: "note" }, texts.milliseconds(locale.number(Math.round(read)), locale.number(Math.round(predict)))),
  ];
}

/** The rows, of which one is looked at: its number, prevalence and calibration stand below. */
function findingsOf(prediction: Prediction, manifest: Manifest, store: Store): Child {
  const label = shownLabel(prediction, manifest, store.state.finding);
  const act = (finding: string): void => {
    store.set({ finding, heatmap: { ...store.state.heatmap, label: null } });
    document.querySelector<HTMLElement>(".finding-name[aria-pressed=true]")?.focus();
  };
  return [
    findingRows(prediction, manifest, store.state, { chosen: label, act }),
    prevalenceField(store, manifest, prediction, label),
    findingsRule(manifest, label, store.state.locale),
  ];
}

/** One sentence: which classes reach the line. */
export function whyOf(prediction: Prediction, manifest: Manifest, locale: Locale): Child {
  const texts = locale.texts.answer;
  const possible = possibleLabels(prediction.probabilities, manifest).map((label) => locale.label(label));
  if (possible.length === 0) return texts.whyNone;
  if (possible.length === 1) return sentence(texts.whyDecided, possible[0]!);
  return texts.whySeveral(locale.list(possible.map((name) => `“${name}”`)));
}

/** Reasons in the language of the page, with their values. */
export function reasonList(reasons: readonly Reason[], locale: Locale): Child {
  if (reasons.length === 0) return null;
  const items = reasons.map((reason) =>
    h(
      "li", { "data-code": reason.cause ?? reason.code },
      h("span", {}, textOf({ ...reason, detail: "" }, locale.texts)),
      reason.detail && [" ", h("span", { class: "detail" }, original(reason.detail))],
    ),
  );
  return [h("h3", {}, locale.texts.answer.reasons), h("ul", { class: "reasons" }, items)];
}
