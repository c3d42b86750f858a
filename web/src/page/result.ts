/** The answer panel: the decision in large words, why, and the probabilities with what they mean. */

import type { Manifest, Prediction, Reason } from "../core/api";
import type { Words } from "../texts";
import { SIGNS, headline, toneOf } from "./answers";
import { fill, h, isolated, original, sentence, type Child } from "./dom";
import { calibrationOf, neededProbability, possibleLabels } from "./facts";
import { engineOf, selectedEntry, type Entry, type Store } from "./state";

export function makeResult(store: Store): HTMLElement {
  const element = h("section", { class: "panel answer", id: "answer", tabindex: -1, "aria-labelledby": "answer-heading" });
  let seen: Entry | null | undefined;

  function build(): void {
    const { words } = store.state;
    const entry = selectedEntry(store.state);
    const manifest = engineOf(store.state)?.manifest ?? null;
    const heading = h("h2", { id: "answer-heading" }, words.texts.answer.heading);
    if (!entry) {
      element.dataset["tone"] = "empty";
      fill(element, heading, h("p", { class: "note" }, words.texts.answer.empty));
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
        h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[tone]), " ", headline(entry, words),
      ),
      bodyOf(entry, manifest, words),
    );
  }

  store.on(["words", "model"], build);
  store.on(["entries", "selected"], () => {
    const entry = selectedEntry(store.state);
    if (entry === seen) return;
    seen = entry;
    build();
  });
  build();
  return element;
}

function bodyOf(entry: Entry, manifest: Manifest | null, words: Words): Child {
  const texts = words.texts.answer;
  if (entry.failure) return [reasonList([entry.failure], words), h("p", { class: "note" }, texts.failedHelp)];
  const { prediction } = entry;
  if (!prediction || !manifest) return null;
  const time = h(
    "p", { class: "note" },
    texts.milliseconds(words.number(Math.round(prediction.milliseconds.read)), words.number(Math.round(prediction.milliseconds.predict))),
  );
  switch (toneOf(entry)) {
    case "refused":
      return [h("p", {}, texts.refusedHelp), reasonList(prediction.reasons, words), time];
    case "uncertain":
      return [
        h("p", {}, texts.uncertainHelp),
        uncertaintyOf(prediction, manifest, words),
        reasonList(prediction.reasons, words),
        probabilitiesOf(prediction, manifest, words),
        time,
      ];
    default:
      return [
        h("p", {}, texts.decidedHelp(words.percent(manifest.conformal_coverage))),
        reasonList(prediction.reasons, words),
        probabilitiesOf(prediction, manifest, words),
        time,
      ];
  }
}

/** Reasons in the language of the page, with the program's own words as detail. */
export function reasonList(reasons: readonly Reason[], words: Words): Child {
  if (reasons.length === 0) return null;
  const known = words.texts.reasons;
  const items = reasons.map((reason) => {
    const translated = Object.hasOwn(known, reason.code) ? known[reason.code] : null;
    return h("li", { "data-code": reason.code }, translated && h("span", {}, translated, " "), h("span", { class: "detail" }, original(reason.words)));
  });
  return [h("h3", {}, words.texts.answer.reasons), h("ul", { class: "reasons" }, items)];
}

function uncertaintyOf(prediction: Prediction, manifest: Manifest, words: Words): Child {
  const texts = words.texts.answer;
  const possible = possibleLabels(prediction.probabilities, manifest);
  const needed = words.percent(neededProbability(manifest));
  return [
    possible.length > 0
      ? h("p", {}, `${texts.stillPossible}: `, possible.map((label, i) => [i > 0 && ", ", h("strong", {}, isolated(words.label(label)))]))
      : h("p", {}, texts.nonePossible),
    h("h3", {}, texts.needed),
    h(
      "ul", { class: "needed" },
      h("li", {}, texts.neededProbability(needed, words.percent(manifest.conformal_coverage))),
      texts.neededElse.map((text) => h("li", {}, text)),
    ),
  ];
}

/** Bars in the bundle's order, the leading class with its calibration in words. */
export function probabilitiesOf(prediction: Prediction, manifest: Manifest, words: Words): Child {
  const texts = words.texts.probabilities;
  const shares = manifest.labels.map((label) => [label, prediction.probabilities[label] ?? 0] as const);
  const [leading, share] = shares.reduce((most, one) => (one[1] > most[1] ? one : most));
  const calibration = calibrationOf(manifest);
  const bars = shares.map(([label, probability]) =>
    h(
      "div", { class: label === leading ? "bar leading" : "bar" },
      h("dt", {}, isolated(words.label(label))),
      h(
        "dd", {},
        h("span", { class: "value" }, words.percent(probability)),
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
          sentence((name) => texts.of100(words.number(Math.round(100 * share)), name), words.label(leading)), " ",
          texts.measured(words.number(calibration.points, 1), words.number(calibration.images)),
        )
      : h("p", { class: "calibration" }, texts.notMeasured),
    h("p", { class: "note" }, calibration && [texts.onlyAlike, " "], texts.sum),
  ];
}
