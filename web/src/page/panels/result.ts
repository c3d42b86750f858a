/** The answer panel: the decision in large locale, why, and the probabilities with what they mean. */

import type { Manifest, Prediction, Reason } from "../../core/api";
import type { Locale } from "../../locales";
import { SIGNS, headline, textOf, toneOf } from "../answers";
import { fill, h, isolated, original, sentence, type Child } from "../dom";
import { calibrationOf, neededProbability, possibleLabels } from "../model-metadata";
import { engineOf, selectedEntry, type Entry, type Store } from "../state";

export function makeResult(store: Store): HTMLElement {
  const element = h("section", { class: "panel answer", id: "answer", tabindex: -1, "aria-labelledby": "answer-heading" });
  let seen: Entry | null | undefined;

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
      h(
        "p", { class: `decision ${tone}` },
        h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[tone]), " ", headline(entry, locale),
      ),
      bodyOf(entry, manifest, locale),
    );
  }

  store.on(["locale", "model"], build);
  store.on(["entries", "selected"], () => {
    const entry = selectedEntry(store.state);
    if (entry === seen) return;
    seen = entry;
    build();
  });
  build();
  return element;
}

function bodyOf(entry: Entry, manifest: Manifest | null, locale: Locale): Child {
  const texts = locale.texts.answer;
  if (entry.failure) return [reasonList([entry.failure], locale), h("p", { class: "note" }, texts.failedHelp)];
  const { prediction } = entry;
  if (!prediction || !manifest) return null;
  const time = h(
    "p", { class: "note" },
    texts.milliseconds(locale.number(Math.round(prediction.milliseconds.read)), locale.number(Math.round(prediction.milliseconds.predict))),
  );
  switch (toneOf(entry)) {
    case "refused":
      return [h("p", {}, texts.refusedHelp), reasonList(prediction.reasons, locale)];
    case "uncertain":
      return [
        h("p", {}, texts.uncertainHelp),
        uncertaintyOf(prediction, manifest, locale),
        reasonList(prediction.reasons, locale),
        probabilitiesOf(prediction, manifest, locale),
        time,
      ];
    default:
      return [
        h("p", {}, texts.decidedHelp(locale.percent(manifest.conformal_coverage))),
        reasonList(prediction.reasons, locale),
        probabilitiesOf(prediction, manifest, locale),
        time,
      ];
  }
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

function uncertaintyOf(prediction: Prediction, manifest: Manifest, locale: Locale): Child {
  const texts = locale.texts.answer;
  const possible = possibleLabels(prediction.probabilities, manifest);
  const needed = locale.percent(neededProbability(manifest));
  return [
    possible.length > 0
      ? h("p", {}, `${texts.stillPossible}: `, possible.map((label, i) => [i > 0 && ", ", h("strong", {}, isolated(locale.label(label)))]))
      : h("p", {}, texts.nonePossible),
    h("h3", {}, texts.needed),
    h(
      "ul", { class: "needed" },
      h("li", {}, texts.neededProbability(needed, locale.percent(manifest.conformal_coverage))),
      texts.neededElse.map((text) => h("li", {}, text)),
    ),
  ];
}

/** Bars in the bundle's order, the leading class with its calibration in locale. */
export function probabilitiesOf(prediction: Prediction, manifest: Manifest, locale: Locale): Child {
  const texts = locale.texts.probabilities;
  const shares = manifest.labels.map((label) => [label, prediction.probabilities[label] ?? 0] as const);
  const [leading, share] = shares.reduce((most, one) => (one[1] > most[1] ? one : most));
  const calibration = calibrationOf(manifest);
  const bars = shares.map(([label, probability]) =>
    h(
      "div", { class: label === leading ? "bar leading" : "bar" },
      h("dt", {}, isolated(locale.label(label))),
      h(
        "dd", {},
        h("span", { class: "value" }, locale.percent(probability)),
        h("meter", { min: 0, max: 1, value: probability, "aria-hidden": "true" }),
      ),
    ),
  );
  return [
    h("h3", {}, texts.heading),
    h("dl", { class: "bars" }, bars),
    calibration
      ? h(
          "p", { class: "calibration" },
          sentence((name) => texts.of100(locale.number(Math.round(100 * share)), name), locale.label(leading)), " ",
          texts.measured(locale.number(calibration.points, 1), locale.number(calibration.images)),
        )
      : h("p", { class: "calibration" }, texts.notMeasured),
    h("p", { class: "note" }, calibration && [texts.onlyAlike, " "], texts.sum),
  ];
}
