/** The picture panel: canvas, tools, sliders, heatmap. */

import type { Picture } from "../../core/api";
import { fill, freshId, h } from "../dom";
import { explanationOf } from "./explanation";
import { shownLabel } from "../model-metadata";
import { ImageView } from "./image";
import { listenTo } from "./gestures";
import { PRESETS, presetWindow, rangeOf, smallestWidth, type Preset } from "./windowing";
import { heatmapControls } from "./heatmap";
import type { Queue } from "../queue";
import { engineOf, selectedEntry, type Entry, type Store } from "../state";
import { FITTED, moved, zoomed } from "./viewport";

const STEPS = 400;

export interface Viewer {
  readonly element: HTMLElement;
  /** The picture as it is shown now, for the report; null where none is. */
  shown(): { image: ImageView; entry: Entry; label: string | null } | null;
}

export function makeViewer(store: Store, queue: Queue): Viewer {
  const element = h("section", { class: "panel viewer", "aria-labelledby": "viewer-heading" });
  let current: { image: ImageView; entry: Entry; label: string | null; restart(): void } | null = null;
  let mode: "window" | "move" = "window";
  let turn = 0;
  const watch = new ResizeObserver(() => current?.image.draw());

  function heading(): HTMLElement {
    return h("h2", { id: "viewer-heading" }, store.state.locale.texts.viewer.heading);
  }

  function close(): void {
    watch.disconnect();
    current?.image.close();
    current = null;
  }

  async function show(): Promise<void> {
    const mine = ++turn;
    const entry = selectedEntry(store.state);
    const { texts } = store.state.locale;
    if (!entry || entry.state === "failed") {
      close();
      fill(element, heading(), h("p", { class: "stage empty" }, entry ? texts.answer.failed : texts.viewer.empty));
      return;
    }
    if (entry.state !== "answered") {
      close();
      fill(element, heading(), h("p", { class: "stage empty" }, texts.viewer.loading));
      return;
    }
    const kept = current?.entry.id === entry.id ? current.image : null;
    const picture = kept?.picture ?? (await queue.picture(entry).catch(() => null));
    if (mine !== turn || !picture) return; // another file was chosen meanwhile
    build(entry, picture, kept);
  }

  function build(entry: Entry, picture: Picture, before: ImageView | null): void {
    const { locale } = store.state;
    const texts = locale.texts.viewer;
    close();
    const helpId = freshId("viewer-help");
    const canvas = h("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": texts.picture(entry.name, locale.number(picture.width), locale.number(picture.height)),
      "aria-describedby": helpId,
    });
    const image = new ImageView(picture, canvas);
    if (before) [image.window, image.preset, image.view] = [before.window, before.preset, before.view];

    // ------------------------------------------------------------------------------------------------ window level
    const [low, range] = [image.quantiles[0]!, rangeOf(image.quantiles) || 1];
    const least = smallestWidth(image.quantiles);
    const slider = (label: string, change: (share: number) => void): [HTMLElement, HTMLInputElement] => {
      const id = freshId("slider");
      const input = h("input", { id, type: "range", min: 0, max: STEPS, step: 1 });
      input.addEventListener("input", () => change(Number(input.value) / STEPS));
      return [h("div", { class: "field" }, h("label", { for: id }, label), input), input];
    };
    // to the right is brighter: the centre falls; in an inverted picture it rises
    const [levelField, level] = slider(texts.level, (share) => {
      const at = image.window.inverted ? share : 1 - share;
      setWindow({ ...image.window, centre: low + at * range });
    });
    const [widthField, width] = slider(texts.width, (share) => {
      setWindow({ ...image.window, width: least * (2 * range / least) ** (1 - share) });
    });
    const presetId = freshId("preset");
    const custom = h("option", { value: "custom" }, texts.presets.custom);
    const preset = h(
      "select", { id: presetId },
      PRESETS.map((name) => h("option", { value: name }, texts.presets[name])), custom,
    );
    preset.addEventListener("change", () => {
      if (preset.value === "custom") return;
      setWindow(presetWindow(preset.value as Preset, picture.window, image.quantiles), preset.value as Preset);
    });
    const zoomState = h("output", { class: "zoom" });

    function setWindow(window: ImageView["window"], name: Preset | "custom" = "custom"): void {
      [image.window, image.preset] = [window, name];
      showControls();
      image.draw(true);
    }
    function showControls(): void {
      const at = Math.min(1, Math.max(0, (image.window.centre - low) / range));
      level.value = String(Math.round((image.window.inverted ? at : 1 - at) * STEPS));
      const share = Math.log(image.window.width / least) / Math.log(2 * range / least);
      width.value = String(Math.round((1 - Math.min(1, Math.max(0, share))) * STEPS));
      preset.value = image.preset;
      canvas.dataset["window"] = `${image.window.centre.toPrecision(6)} ${image.window.width.toPrecision(6)}`;
      canvas.dataset["inverted"] = String(image.window.inverted);
    }
    function setView(view: ImageView["view"]): void {
      image.view = view;
      zoomState.value = texts.zoomState(locale.percent(view.zoom));
      canvas.dataset["zoom"] = view.zoom.toFixed(3);
      image.draw(true);
    }
    const middle = (): { x: number; y: number } => ({ x: image.size.width / 2, y: image.size.height / 2 });
    const zoom = (factor: number, at = middle()): void => setView(zoomed(image.view, factor, at, picture, image.size));
    const invert = (): void => {
      setWindow({ ...image.window, inverted: !image.window.inverted });
      inverted.setAttribute("aria-pressed", String(image.window.inverted !== picture.window.inverted));
    };
    const reset = (): void => {
      setWindow(picture.window, "file");
      inverted.setAttribute("aria-pressed", "false");
      setView(FITTED);
    };
    listenTo(canvas, {
      mode: () => mode,
      move: (dx, dy) => setView(moved(image.view, dx, dy, picture, image.size)),
      zoom,
      level(dx, dy) {
        const sign = image.window.inverted ? -1 : 1;
        const centre = image.window.centre + (sign * dy * range) / image.size.height;
        const factor = 2 ** (-dx / (image.size.width / 4)); // half the width in contrast for a quarter of the canvas
        setWindow({
          ...image.window,
          centre: Math.min(low + range, Math.max(low, centre)),
          width: Math.min(2 * range, Math.max(least, image.window.width * factor)),
        });
      },
      key: (name) => ({ fit: () => setView(FITTED), invert, reset, heatmap: () => toggleHeatmap(store) })[name](),
    });

    // ------------------------------------------------------------------------------------------------------- tools
    const button = (text: string, label: string, act: () => void): HTMLButtonElement =>
      h("button", { type: "button", class: "tool", "aria-label": label, title: label, on: { click: act } }, text);
    const inverted = h("button", {
      type: "button", class: "tool", "aria-pressed": String(image.window.inverted !== picture.window.inverted),
      on: { click: invert },
    }, texts.invert);
    const toolbar = h(
      "div", { class: "toolbar", role: "group", "aria-label": texts.tools },
      button("+", texts.zoomIn, () => zoom(1.25)),
      button("−", texts.zoomOut, () => zoom(0.8)),
      h("button", { type: "button", class: "tool", on: { click: () => setView(FITTED) } }, texts.fit),
      inverted,
      h("button", { type: "button", class: "tool", on: { click: reset } }, texts.reset),
      dragMode(),
    );

    const manifest = engineOf(store.state)?.manifest;
    const prediction = entry.prediction;
    const scored = manifest && prediction?.saliency ? { manifest, prediction, saliency: prediction.saliency } : null;
    const showHeat = (label: string): void => {
      if (!current || !scored) return;
      const { shown, opacity } = store.state.heatmap;
      current.label = shown ? label : null;
      canvas.dataset["heatmap"] = current.label ?? "";
      image.overlay = shown
        ? { explanation: explanationOf(scored.saliency, label, scored.manifest), opacity, aspect: scored.manifest.preprocessing.aspect }
        : null;
    };
    const heat = scored
      ? heatmapControls(store, scored.manifest, shownLabel(scored.prediction.decision, scored.manifest), showHeat)
      : null;
    current = { image, entry, label: null, restart: () => heat?.refresh() };
    fill(
      element,
      heading(),
      h("div", { class: "stage" }, canvas),
      toolbar,
      h("p", { id: helpId, class: "note" }, texts.help, h("span", { class: "keys" }, " ", texts.keys), " ", zoomState),
      h(
        "div", { class: "controls" },
        h("div", { class: "field" }, h("label", { for: presetId }, texts.preset), preset),
        levelField, widthField,
      ),
      heat?.element ?? h("p", { class: "note" }, locale.texts.heatmap.absent),
      metadataOf(picture),
    );
    showControls();
    setView(image.view);
    heat?.refresh();
    watch.observe(canvas);
  }

  function dragMode(): HTMLElement {
    const texts = store.state.locale.texts.viewer;
    const select = h(
      "select", { "aria-label": texts.drag },
      h("option", { value: "window" }, `${texts.drag}: ${texts.dragWindow}`),
      h("option", { value: "move" }, `${texts.drag}: ${texts.dragMove}`),
    );
    select.value = mode;
    select.addEventListener("change", () => (mode = select.value as typeof mode));
    return select;
  }

  function metadataOf(picture: Picture): HTMLElement {
    const entries = Object.entries(picture.metadata).filter(([, value]) => value);
    return h(
      "details", { class: "metadata" },
      h("summary", {}, store.state.locale.texts.viewer.metadata),
      h("dl", { lang: "en", dir: "ltr" }, entries.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
  }

  let seen: Entry | null | undefined;
  store.on(["selected", "entries"], () => {
    const entry = selectedEntry(store.state);
    if (entry === seen) return;
    seen = entry;
    void show();
  });
  store.on(["locale"], () => void show());
  store.on(["heatmap"], () => current?.restart());
  void show();
  return { element, shown: () => current };
}

function toggleHeatmap(store: Store): void {
  const { heatmap } = store.state;
  store.set({ heatmap: { ...heatmap, shown: !heatmap.shown } });
}
