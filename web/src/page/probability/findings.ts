/** Several findings per image: a row for each with its own decision, probability, lines and the reason. */

import type { FindingCalibration, Manifest, Prediction } from "../../core/api";
import type { Locale } from "../../locales";
import { h, isolated, type Child } from "../dom";
import type { State } from "../state";
import { numberName, shownProbability } from "./prevalence";
import { calibrationText } from "./probabilities";

const ORDER = ["present", "uncertain", "absent"] as const;
export const FINDING_SIGNS = { present: "●", uncertain: "?", absent: "○" } as const;

/** The findings of an image, those that are present first, then by probability. */
export function sortedFindings({ findings, probabilities }: Prediction): readonly string[] {
  const rank = (label: string): number => ORDER.indexOf(findings[label]!);
  return Object.keys(findings).sort((a, b) => rank(a) - rank(b) || probabilities[b]! - probabilities[a]!);
}

/** @param choose makes a row's name a button that chooses the finding; null for print. */
export function findingRows(
  prediction: Prediction, manifest: Manifest, state: State, choose: { readonly chosen: string; act(label: string): void } | null,
): Child {
  const { locale } = state;
  const texts = locale.texts.findings;
  return h("ul", { class: "findings" }, sortedFindings(prediction).map((label) => {
    const decision = prediction.findings[label]!;
    const name = isolated(locale.label(label));
    const [low, high] = linesOf(manifest, label);
    const share = shownProbability(prediction, manifest, state, label);
    return h(
      "li", { class: `finding ${decision}`, "data-finding": label, "data-decision": decision, "data-share": String(prediction.probabilities[label]) },
      choose
        ? h("button", { type: "button", class: "finding-name", "aria-pressed": String(choose.chosen === label), on: { click: () => choose.act(label) } }, name)
        : h("span", { class: "finding-name" }, name),
      h("span", { class: "value" }, h("span", { class: "sign", "aria-hidden": "true" }, FINDING_SIGNS[decision]), " ", texts.decisions[decision]),
      h("strong", { class: "share" }, locale.percent(share)),
      h("div", { class: "track", "aria-hidden": "true" }, h("meter", { min: 0, max: 1, value: prediction.probabilities[label]! }), lineAt(low), lineAt(high)),
      h("p", { class: "note" }, reasonOf(prediction, manifest, label, locale), !choose && [" ", locale.percent(share), ": ", numberName(manifest, state, label), "."]),
    );
  }));
}

/** Bring the numbers of the rows in line with the prevalences. */
export function refreshShares(element: HTMLElement, prediction: Prediction, manifest: Manifest, state: State): void {
  for (const row of element.querySelectorAll<HTMLElement>(".finding")) {
    row.querySelector(".share")!.textContent = state.locale.percent(shownProbability(prediction, manifest, state, row.dataset["finding"]!));
  }
}

function lineAt(share: number): HTMLElement {
  const line = h("span", { class: "line" });
  line.style.insetInlineStart = `${100 * share}%`; // by code: the policy forbids the attribute
  return line;
}

/** Probabilities between which a finding is uncertain. */
function linesOf(manifest: Manifest, label: string): [number, number] {
  const { conformal_quantile: quantile } = calibrated(manifest, label);
  return [Math.min(quantile, 1 - quantile), Math.max(quantile, 1 - quantile)];
}

function calibrated({ findings = [] }: Manifest, label: string): FindingCalibration {
  return findings.find((one) => one.label === label)!;
}

function reasonOf({ findings }: Prediction, manifest: Manifest, label: string, { texts, percent }: Locale): string {
  const [low, high] = linesOf(manifest, label).map(percent) as [string, string];
  switch (findings[label]!) {
    case "present":
      return texts.findings.whyPresent(high);
    case "absent":
      return texts.findings.whyAbsent(low);
    case "uncertain":
      return (calibrated(manifest, label).conformal_quantile >= 0.5 ? texts.findings.whyBoth : texts.findings.whyNeither)(low, high);
  }
}

/** The rule, once, and the calibration of the finding that is looked at. */
export function findingsRule(manifest: Manifest, label: string, locale: Locale): Child {
  const texts = locale.texts.findings;
  return [
    h("p", { class: "rule" }, texts.rule),
    h("p", { class: "calibration" }, texts.coverage(locale.percent(manifest.conformal_coverage)), " ", calibrationText(manifest, label, locale), " ", texts.onlyThese),
  ];
}
