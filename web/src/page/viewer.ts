/** The picture panel: canvas, tools, sliders, heatmap. */

import type { Picture } from "../core/api";
import { fill, freshId, h } from "./dom";
import { evidenceOf } from "./evidence";
import { shownLabel } from "./facts";
import { Film } from "./film";
import { listenTo } from "./gestures";
import { PRESETS, presetWindow, rangeOf, smallestWidth, type Preset } from "./greys";
import { heatmapControls } from "./heatmap";
import type { Queue } from "./queue";
import { engineOf, selectedEntry, type Entry, type Store } from "./state";
import { FITTED, moved, zoomed } from "./viewport";

const STEPS = 400;

export interface Viewer {
  readonly element: HTMLElement;
  /** The picture as it is shown now, for the report; null where none is. */
  shown(): { film: Film; entry: Entry; label: string | null } | null;
}

export function makeViewer(store: Store, queue: Queue): Viewer {
  const element = h("section", { class: "panel viewer", "aria-labelledby": "viewer-heading" });
  let current: { film: Film; entry: Entry; label: string | null; restart(): void } | null = null;
  let mode: "window" | "move" = "window";
  let turn = 0;
  const watch = new ResizeObserver(() => current?.film.draw());

  function heading(): HTMLElement {
    return h("h2", { id: "viewer-heading" }, store.state.words.texts.viewer.heading);
  }

  function close(): void {
    watch.disconnect();
    current?.film.close();
    current = null;
  }

  async function show(): Promise<void> {
    const mine = ++turn;
    const entry = selectedEntry(store.state);
    const { texts } = store.state.words;
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
    const kept = current?.entry.id === entry.id ? current.film : null;
    const picture = kept?.picture ?? (await queue.picture(entry).catch(() => null));
    if (mine !== turn || !picture) return; // another file was chosen meanwhile
    build(entry, picture, kept);
  }

  function build(entry: Entry, picture: Picture, before: Film | null): void {
    const { words } = store.state;
    const texts = words.texts.viewer;
    close();
    const helpId = freshId("viewer-help");
    const canvas = h("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": texts.picture(entry.name, words.number(picture.width), words.number(picture.height)),
      "aria-describedby": helpId,
    });
    const film = new Film(picture, canvas);
    if (before) [film.window, film.view] = [before.window, before.view];

    // ------------------------------------------------------------------------------------------------ window level
    const [low, range] = [film.quantiles[0]!, rangeOf(film.quantiles) || 1];
    const least = smallestWidth(film.quantiles);
    const slider = (label: string, change: (share: number) => void): [HTMLElement, HTMLInputElement] => {
      const id = freshId("slider");
      const input = h("input", { id, type: "range", min: 0, max: STEPS, step: 1 });
      input.addEventListener("input", () => change(Number(input.value) / STEPS));
      return [h("div", { class: "field" }, h("label", { for: id }, label), input), input];
    };
    // to the right is brighter: the centre falls; in an inverted picture it rises
    const [levelField, level] = slider(texts.level, (share) => {
      const at = film.window.inverted ? share : 1 - share;
      setWindow({ ...film.window, centre: low + at * range });
    });
    const [widthField, width] = slider(texts.width, (share) => {
      setWindow({ ...film.window, width: least * (2 * range / least) ** (1 - share) });
    });
    const presetId = freshId("preset");
    const custom = h("option", { value: "custom" }, texts.presets.custom);
    const preset = h(
      "select", { id: presetId },
      PRESETS.map((name) => h("option", { value: name }, texts.presets[name])), custom,
    );
    preset.addEventListener("change", () => {
      if (preset.value === "custom") return;
      setWindow(presetWindow(preset.value as Preset, picture.window, film.quantiles), preset.value as Preset);
    });
    const zoomState = h("output", { class: "zoom" });

    function setWindow(window: Film["window"], name: Preset | "custom" = "custom"): void {
      film.window = window;
      showControls(name);
      film.draw(true);
    }
    function showControls(name: Preset | "custom"): void {
      const at = Math.min(1, Math.max(0, (film.window.centre - low) / range));
      level.value = String(Math.round((film.window.inverted ? at : 1 - at) * STEPS));
      const share = Math.log(film.window.width / least) / Math.log(2 * range / least);
      width.value = String(Math.round((1 - Math.min(1, Math.max(0, share))) * STEPS));
      preset.value = name;
      canvas.dataset["window"] = `${film.window.centre.toPrecision(6)} ${film.window.width.toPrecision(6)}`;
      canvas.dataset["inverted"] = String(film.window.inverted);
    }
    function setView(view: Film["view"]): void {
      film.view = view;
      zoomState.value = texts.zoomState(words.percent(view.zoom));
      canvas.dataset["zoom"] = view.zoom.toFixed(3);
      film.draw(true);
    }
    const middle = (): { x: number; y: number } => ({ x: film.size.width / 2, y: film.size.height / 2 });
    const zoom = (factor: number, at = middle()): void => setView(zoomed(film.view, factor, at, picture, film.size));
    const invert = (): void => {
      setWindow({ ...film.window, inverted: !film.window.inverted });
      inverted.setAttribute("aria-pressed", String(film.window.inverted !== picture.window.inverted));
    };
    const reset = (): void => {
      setWindow(picture.window, "file");
      inverted.setAttribute("aria-pressed", "false");
      setView(FITTED);
    };
    listenTo(canvas, {
      mode: () => mode,
      move: (dx, dy) => setView(moved(film.view, dx, dy, picture, film.size)),
      zoom,
      level(dx, dy) {
        const sign = film.window.inverted ? -1 : 1;
        const centre = film.window.centre + (sign * dy * range) / film.size.height;
        const factor = 2 ** (-dx / (film.size.width / 4)); // half the width in contrast for a quarter of the canvas
        setWindow({
          ...film.window,
          centre: Math.min(low + range, Math.max(low, centre)),
          width: Math.min(2 * range, Math.max(least, film.window.width * factor)),
        });
      },
      key: (name) => ({ fit: () => setView(FITTED), invert, reset, heatmap: () => toggleHeatmap(store) })[name](),
    });

    // ------------------------------------------------------------------------------------------------------- tools
    const button = (text: string, label: string, act: () => void): HTMLButtonElement =>
      h("button", { type: "button", class: "tool", "aria-label": label, title: label, on: { click: act } }, text);
    const inverted = h("button", {
      type: "button", class: "tool", "aria-pressed": String(film.window.inverted !== picture.window.inverted),
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
      film.overlay = shown
        ? { evidence: evidenceOf(scored.saliency, label, scored.manifest), opacity, aspect: scored.manifest.preprocessing.aspect }
        : null;
    };
    const heat = scored
      ? heatmapControls(store, scored.manifest, shownLabel(scored.prediction.decision, scored.manifest), showHeat)
      : null;
    current = { film, entry, label: null, restart: () => heat?.refresh() };
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
      heat?.element ?? h("p", { class: "note" }, words.texts.heat.absent),
      factsOf(picture),
    );
    showControls(before ? "custom" : "file");
    setView(film.view);
    heat?.refresh();
    watch.observe(canvas);
  }

  function dragMode(): HTMLElement {
    const texts = store.state.words.texts.viewer;
    const select = h(
      "select", { "aria-label": texts.drag },
      h("option", { value: "window" }, `${texts.drag}: ${texts.dragWindow}`),
      h("option", { value: "move" }, `${texts.drag}: ${texts.dragMove}`),
    );
    select.value = mode;
    select.addEventListener("change", () => (mode = select.value as typeof mode));
    return select;
  }

  function factsOf(picture: Picture): HTMLElement {
    const facts = Object.entries(picture.facts).filter(([, value]) => value);
    return h(
      "details", { class: "facts" },
      h("summary", {}, store.state.words.texts.viewer.facts),
      h("dl", { lang: "en", dir: "ltr" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    );
  }

  let seen: Entry | null | undefined;
  store.on(["selected", "entries"], () => {
    const entry = selectedEntry(store.state);
    if (entry === seen) return;
    seen = entry;
    void show();
  });
  store.on(["words"], () => void show());
  store.on(["heatmap"], () => current?.restart());
  void show();
  return { element, shown: () => current };
}

function toggleHeatmap(store: Store): void {
  const { heatmap } = store.state;
  store.set({ heatmap: { ...heatmap, shown: !heatmap.shown } });
}
