/** The display panel: window, heatmap and header of the image that is in use. */

import type { Picture } from "../../core/api";
import type { Locale } from "../../locales";
import { noteText } from "../../locales/notes";
import { fill, freshId, h, original } from "../dom";
import { engineOf, type Store } from "../state";
import { heatmapControls } from "./heatmap";
import type { Pane } from "./pane";

const STEPS = 400;

export interface Display {
  readonly element: HTMLElement;
  /** Show the fields of a pane, or bring them in line with what it shows now. */
  show(pane: Pane | null): void;
}

export function makeDisplay(store: Store): Display {
  const element = h("section", { class: "panel display", id: "display", "aria-labelledby": "display-heading" });
  let shown: Pane | null = null;
  let refresh = (): void => undefined;

  function build(): void {
    const { locale } = store.state;
    const texts = locale.texts.viewer;
    const heading = h("h2", { id: "display-heading" }, texts.display);
    element.dataset["empty"] = String(shown === null);
    refresh = (): void => undefined;
    if (!shown) return fill(element, heading, h("p", { class: "note" }, texts.empty));
    const manifest = engineOf(store.state)?.manifest;
    const window = windowFields(shown, texts);
    const label = shown.label();
    const heat = manifest && label !== null ? heatmapControls(store, manifest, shown) : null;
    fill(
      element, heading, window.element,
      heat?.element ?? h("p", { class: "note" }, locale.texts.heatmap.absent),
      headerOf(shown.image.picture),
    );
    refresh = () => {
      window.refresh();
      heat?.refresh();
    };
    refresh();
  }

  function windowFields({ image }: Pane, texts: Store["state"]["locale"]["texts"]["viewer"]): { element: HTMLElement; refresh(): void } {
    const { low, span, least } = image.values;
    const slider = (label: string, change: (share: number) => void): [HTMLElement, HTMLInputElement] => {
      const id = freshId("slider");
      const input = h("input", { id, type: "range", min: 0, max: STEPS, step: 1 });
      input.addEventListener("input", () => change(Number(input.value) / STEPS));
      return [h("div", { class: "field" }, h("label", { for: id }, label), input), input];
    };
    // to the right is brighter: the centre falls; in an inverted picture it rises
    const [levelField, level] = slider(texts.level, (share) => {
      image.setWindow({ ...image.window, centre: low + (image.window.inverted ? share : 1 - share) * span });
    });
    const [widthField, width] = slider(texts.width, (share) => {
      image.setWindow({ ...image.window, width: least * (2 * span / least) ** (1 - share) });
    });
    return {
      element: h("div", { class: "controls" }, levelField, widthField),
      refresh() {
        const at = Math.min(1, Math.max(0, (image.window.centre - low) / span));
        level.value = String(Math.round((image.window.inverted ? at : 1 - at) * STEPS));
        const share = Math.log(image.window.width / least) / Math.log(2 * span / least);
        width.value = String(Math.round((1 - Math.min(1, Math.max(0, share))) * STEPS));
      },
    };
  }

  /** What the header says, with names and known terms in the page's language. */
  function headerOf({ width, height, format, spacing, metadata }: Picture): HTMLElement {
    const { locale } = store.state;
    const { fields, terms, units, scales, metadata: heading } = locale.texts.viewer;
    const known = (text: string): Node | string => (Object.hasOwn(terms, text) ? terms[text]! : original(text));
    const mm = (value: number): string => locale.number(value, 3);
    const rows: [string, Node | string][] = [
      [fields.format, original(format.toUpperCase())],
      [fields.size, `${locale.number(width)} × ${locale.number(height)}`],
      ...Object.entries(metadata).map(([key, value]): [string, Node | string] => [
        Object.hasOwn(fields, key) ? fields[key as keyof typeof fields] : key,
        key === "bits" ? locale.number(Number(value)) : key === "notes" ? notesOf(value, locale) : known(value),
      ]),
      ...(spacing ? [[fields.spacing, spacing === "damaged" ? scales.damaged : `${mm(spacing.column)} × ${mm(spacing.row)} ${units.mm}`] as [string, string]] : []),
    ];
    return h("details", { class: "metadata" }, h("summary", {}, heading), h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  }

  /** Notes on reading in words; one that has none as the core writes it. */
  function notesOf(notes: string, { code, number }: Locale): Node {
    return h("ul", { class: "notes" }, notes.split("; ").map((note) => h("li", {}, noteText(note, code, number) ?? original(note))));
  }

  store.on(["locale"], build);
  build();
  return {
    element,
    show(pane) {
      if (pane === shown) return refresh();
      shown = pane;
      build();
    },
  };
}
