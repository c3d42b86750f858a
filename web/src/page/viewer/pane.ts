/** One image of the viewer: canvas, caption, gestures, lengths and heatmap. */

import type { Picture } from "../../core/api";
import { SIGNS, shortAnswer, toneOf } from "../answers";
import { h, isolated } from "../dom";
import { shownLabel } from "../model-metadata";
import { engineOf, type Entry, type Store } from "../state";
import { explanationOf } from "./explanation";
import { listenTo } from "./gestures";
import { icon } from "../icons";
import { ImageView, type Overlay } from "./image";
import type { Mode } from "./keys";
import { lengthOf, type Line, type Point } from "./measure";

export interface Pane {
  readonly element: HTMLElement;
  readonly image: ImageView;
  readonly entry: Entry;
  /** The class whose heatmap is shown or would be; null for an image that was not scored. */
  label(): string | null;
  /** The heatmap of that class, for the report. */
  overlay(): Overlay | null;
  /** Length of the last line with its unit; empty where there is none. */
  lastLength(): string;
  /** Begin or end a line by keyboard, or move the end of the one that is begun: false where none is. */
  line(): void;
  extend(dx: number, dy: number): boolean;
  /** Bring texts and heatmap in line with the state. */
  refresh(): void;
  close(): void;
}

interface Surroundings {
  readonly store: Store;
  mode(): Mode;
  /** The pane was chosen, or its window, place or lengths changed. */
  changed(pane: Pane): void;
}

const SHORTEST = 3; // canvas pixels: a click is no line
const KEYBOARD_LINE = 60;

export function makePane(entry: Entry, picture: Picture, { store, mode, changed }: Surroundings): Pane {
  const canvas = h("canvas", { tabindex: 0, role: "application" });
  const caption = h("figcaption", {});
  const place = h("p", { class: "place", "aria-hidden": "true" });
  const close = h("button", { type: "button", class: "tool close", on: { click: () => store.set({ beside: null }) } }, icon("close"));
  const element = h("figure", { class: "pane" }, canvas, caption, place, close);
  const image = new ImageView(picture, canvas);
  const watch = new ResizeObserver(() => image.draw());
  let drawing = false;

  const textOf = (line: Line): string => {
    const { number, texts } = store.state.locale;
    const { length, unit } = lengthOf(line, picture.spacing);
    return `${number(length, unit === "mm" ? 1 : 0)} ${texts.viewer.units[unit]}`;
  };
  image.textOf = textOf;
  image.onChange = () => {
    showPlace();
    changed(pane);
  };

  function line(step: "begin" | "extend" | "end" | "cancel", at: Point): void {
    if (step === "begin") {
      const point = image.pointAt(at);
      drawing = true;
      image.setLines([...image.lines, { from: point, to: point }]);
      return;
    }
    const last = image.lines.at(-1);
    if (!drawing || !last) return;
    if (step === "extend") return image.setLines([...image.lines.slice(0, -1), { ...last, to: image.pointAt(at) }]);
    drawing = false;
    const [from, to] = [canvasPointOf(last.from), canvasPointOf(last.to)];
    const short = Math.hypot(to.x - from.x, to.y - from.y) < SHORTEST;
    image.setLines(step === "cancel" || short ? image.lines.slice(0, -1) : image.lines);
  }

  function canvasPointOf({ x, y }: Point): Point {
    const { scale, left, top } = image.place;
    return { x: left + x * scale, y: top + y * scale };
  }

  listenTo(canvas, {
    mode,
    level: (dx, dy) => image.level(dx, dy),
    move: (dx, dy) => image.move(dx, dy),
    zoom: (factor, at) => image.zoom(factor, at),
    line,
  });
  canvas.addEventListener("focus", () => changed(pane));

  const manifest = engineOf(store.state)?.manifest;
  const { prediction } = entry;
  const saliency = prediction?.saliency ?? null;

  function label(): string | null {
    if (!manifest || !prediction || !saliency) return null;
    return store.state.heatmap.label ?? shownLabel(prediction, manifest, store.state.finding);
  }

  function overlay(): Overlay | null {
    const name = label();
    if (!manifest || !saliency || name === null) return null;
    return {
      explanation: explanationOf(saliency, name, manifest),
      opacity: store.state.heatmap.opacity,
      aspect: manifest.preprocessing.aspect,
    };
  }

  function showPlace(): void {
    const { locale } = store.state;
    const { centre, width, inverted } = image.window;
    place.textContent = locale.texts.viewer.zoomState(locale.percent(image.view.zoom));
    Object.assign(canvas.dataset, {
      zoom: image.view.zoom.toFixed(3),
      window: `${centre.toPrecision(6)} ${width.toPrecision(6)}`,
      inverted: String(inverted),
      lengths: image.lines.map(textOf).join("; "),
    });
  }

  function refresh(): void {
    const { locale, heatmap } = store.state;
    const { texts } = locale;
    canvas.setAttribute("aria-label", texts.viewer.picture(entry.name, locale.number(picture.width), locale.number(picture.height)));
    close.hidden = store.state.beside !== entry.id || store.state.selected === entry.id;
    close.title = texts.viewer.closeBeside;
    close.setAttribute("aria-label", texts.viewer.closeBeside);
    const tone = toneOf(entry);
    const shown = heatmap.shown || heatmap.held ? label() : null;
    caption.replaceChildren(
      h("span", { class: "name" }, isolated(entry.name)),
      h("span", { class: `verdict ${tone}` }, `${SIGNS[tone]} `, isolated(shortAnswer(entry, locale))),
      ...(shown === null ? [] : [h("span", { class: "map" }, `${texts.heatmap.heading}: `, isolated(locale.label(shown)))]),
    );
    canvas.dataset["heatmap"] = shown ?? "";
    image.overlay = shown === null ? null : overlay();
    showPlace();
  }

  const pane: Pane = {
    element, image, entry, label, overlay, refresh,
    lastLength: () => (image.lines.length > 0 ? textOf(image.lines.at(-1)!) : ""),
    line() {
      const { width, height } = image.size;
      if (drawing) return line("end", { x: 0, y: 0 });
      line("begin", { x: width / 2, y: height / 2 });
      line("extend", { x: width / 2 + KEYBOARD_LINE, y: height / 2 });
    },
    extend(dx, dy) {
      const last = image.lines.at(-1);
      if (!drawing || !last) return false;
      const { x, y } = canvasPointOf(last.to);
      line("extend", { x: x + dx, y: y + dy });
      return true;
    },
    close() {
      watch.disconnect();
      image.close();
    },
  };
  watch.observe(canvas);
  return pane;
}
