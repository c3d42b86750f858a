/** The card of a failed audit: what that means for an image, then what failed, by how much, and the limit. */

import type { Locale } from "../../locales";
import { fill, h, original, type Child } from "../dom";
import { failedAudit, type FailedCriterion } from "../model-metadata";
import { engineOf, type Store } from "../state";

/** At the top of the page; hidden where the model passed. */
export function makeWarning(store: Store): HTMLElement {
  const element = h("section", { class: "warning", "aria-labelledby": "warning-heading" });
  function build(): void {
    const { locale } = store.state;
    const { audit } = locale.texts;
    const manifest = engineOf(store.state)?.manifest;
    const failed = manifest ? failedAudit(manifest) : null;
    element.hidden = !failed;
    if (!failed) return fill(element);
    fill(
      element,
      h("h2", { id: "warning-heading" }, audit.heading),
      h("p", {}, audit.body),
      meaningsOf(failed, locale),
      failed.length > 0 && h("details", {}, h("summary", {}, audit.details), failuresOf(failed, locale)),
    );
  }
  store.on(["locale", "model"], build);
  build();
  return element;
}

/** What the failures mean for the picture in front of the reader, each said once. */
export function meaningsOf(failed: readonly FailedCriterion[], locale: Locale): Child {
  const texts: Readonly<Record<string, string>> = locale.criteria.meanings;
  const said = [...new Set(failed.map(({ meaning }) => meaning))].filter((kind) => Object.hasOwn(texts, kind));
  return said.length > 0 && h("ul", { class: "meanings" }, said.map((kind) => h("li", { "data-meaning": kind }, texts[kind]!)));
}

/** What is wrong, the value with its interval, and the limit. */
export function failuresOf(failed: readonly FailedCriterion[], locale: Locale): Child {
  return h("ul", { class: "failures" }, failed.map((one) => h("li", { "data-key": one.key }, faultOf(one, locale), figuresOf(one, locale))));
}

function faultOf({ key, title }: FailedCriterion, locale: Locale): Child {
  const faults: Readonly<Record<string, string>> = locale.criteria.faults;
  const fault = Object.hasOwn(faults, key) ? faults[key]! : null;
  return fault === null ? original(title) : fault.charAt(0).toLocaleUpperCase(locale.code) + fault.slice(1);
}

function figuresOf({ unit, value, low, high, limit }: FailedCriterion, locale: Locale): Child {
  const texts = locale.texts.audit;
  if (value === null || limit === null) return `: ${texts.failed}`;
  const write = (figure: number): string =>
    unit === "share" ? locale.precise(figure) : locale.number(figure, unit === "count" ? 0 : 2);
  const name = unit === "share" || unit === "count" || unit === "" ? "" : unit === "auroc" ? "AUROC" : unit;
  const measured = low === null || high === null ? write(value) : texts.interval(write(value), write(low), write(high));
  return [": ", name && [original(name), " "], texts[limit.bound === "most" ? "atMost" : "atLeast"](measured, write(limit.value))];
}
