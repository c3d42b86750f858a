/** Heatmap controls: class, opacity, legend. */

import type { Manifest } from "../../core/api";
import { freshId, h, sentence } from "../dom";
import type { Heatmap, Store } from "../state";
import type { Pane } from "./pane";

export interface HeatmapControls {
  readonly element: HTMLElement;
  /** Bring the fields in line with the state. */
  refresh(): void;
}

export function heatmapControls(store: Store, manifest: Manifest, pane: Pane): HeatmapControls {
  const { locale } = store.state;
  const texts = locale.texts.heatmap;
  const [shownId, classId, opacityId] = [freshId("heat"), freshId("heat"), freshId("heat")];
  const shown = h("input", { id: shownId, type: "checkbox" });
  const label = h(
    "select", { id: classId },
    manifest.labels.map((one) => h("option", { value: one }, locale.label(one))),
  );
  const opacity = h("input", { id: opacityId, type: "range", min: 0, max: 100, step: 5 });
  const meaning = h("p", { class: "note" });
  const legend = h(
    "div", { class: "legend", dir: "ltr" },
    h("span", { dir: locale.texts.direction }, texts.none),
    h("span", { class: "scale", role: "presentation" }),
    h("span", { dir: locale.texts.direction }, texts.strong),
  );
  const set = (patch: Partial<Heatmap>): void => store.set({ heatmap: { ...store.state.heatmap, ...patch } });
  shown.addEventListener("change", () => set({ shown: shown.checked }));
  opacity.addEventListener("input", () => set({ opacity: Number(opacity.value) / 100 }));
  label.addEventListener("change", () => set({ label: label.value }));

  function refresh(): void {
    const { heatmap } = store.state;
    shown.checked = heatmap.shown;
    label.value = pane.label() ?? "";
    opacity.value = String(Math.round(heatmap.opacity * 100));
    opacity.setAttribute("aria-valuetext", locale.percent(heatmap.opacity));
    meaning.replaceChildren(sentence(texts.meaning, locale.label(label.value)));
  }

  const element = h(
    "fieldset", { class: "heat" },
    h("legend", {}, texts.heading),
    h("div", { class: "field check" }, shown, h("label", { for: shownId }, texts.show)),
    h("div", { class: "field" }, h("label", { for: classId }, texts.class), label),
    h("div", { class: "field" }, h("label", { for: opacityId }, texts.opacity), opacity),
    legend,
    meaning,
  );
  return { element, refresh };
}
