/** One picture on a canvas, with its window, its place, lengths and the heatmap over it; draws at most once a frame. */

import type { Picture } from "../../core/api";
import { filledPart, heatPixels, type Explanation } from "./explanation";
import { drawLines, type Line, type Point } from "./measure";
import { FITTED, moved, placeOf, zoomed, type Size, type Viewport } from "./viewport";
import {
  drawWindowed, presetWindow, pyramidOf, quantilesOf, rangeOf, smallestWidth, type Level, type Place, type Preset, type Window,
} from "./windowing";

const HEAT_SIDE = 224;
const SETTLED_MS = 160; // coarse while it moves, every screen pixel afterwards

export interface Overlay {
  readonly explanation: Explanation;
  readonly opacity: number;
  readonly aspect: "squash" | "pad";
}

export class ImageView {
  window: Window;
  /** Where the window came from, for the menu. */
  preset: Preset | "custom" = "file";
  view: Viewport = FITTED;
  lines: readonly Line[] = [];
  /** Called after the window, the place or the lengths changed. */
  onChange: () => void = () => undefined;
  /** A length as it is written beside its line. */
  textOf: (line: Line) => string = () => "";
  /** Lowest value, span of all values, smallest useful width: what sliders and gestures keep to. */
  readonly values: { readonly low: number; readonly span: number; readonly least: number };
  readonly #quantiles: Float32Array;
  readonly #pyramid: readonly Level[];
  #overlay: HeatImage | null = null;
  #frame = 0;
  #settle = 0;

  constructor(
    readonly picture: Picture,
    readonly canvas: HTMLCanvasElement,
  ) {
    this.window = picture.window;
    this.#pyramid = pyramidOf(picture.width, picture.height, picture.values);
    this.#quantiles = quantilesOf(picture.values);
    this.values = { low: this.#quantiles[0]!, span: rangeOf(this.#quantiles) || 1, least: smallestWidth(this.#quantiles) };
  }

  /** Size of the canvas on the page, in CSS pixels: the unit of `view` and of pointers. */
  get size(): Size {
    return { width: this.canvas.clientWidth || 1, height: this.canvas.clientHeight || 1 };
  }

  get inverted(): boolean {
    return this.window.inverted !== this.picture.window.inverted;
  }

  set overlay(overlay: Overlay | null) {
    this.#overlay = overlay && heatImage(overlay);
    this.draw();
  }

  // ------------------------------------------------------------------------------------------------------ commands
  setWindow(window: Window, preset: Preset | "custom" = "custom"): void {
    [this.window, this.preset] = [window, preset];
    this.#changed();
  }

  usePreset(preset: Preset): void {
    this.setWindow({ ...presetWindow(preset, this.picture.window, this.#quantiles), inverted: this.window.inverted }, preset);
  }

  /** Brightness and contrast by a drag over the canvas. */
  level(dx: number, dy: number): void {
    const { low, span, least } = this.values;
    const sign = this.window.inverted ? -1 : 1;
    const centre = this.window.centre + (sign * dy * span) / this.size.height;
    const factor = 2 ** (-dx / (this.size.width / 4)); // half the width in contrast for a quarter of the canvas
    this.setWindow({
      ...this.window,
      centre: Math.min(low + span, Math.max(low, centre)),
      width: Math.min(2 * span, Math.max(least, this.window.width * factor)),
    });
  }

  invert(): void {
    this.setWindow({ ...this.window, inverted: !this.window.inverted }, this.preset);
  }

  move(dx: number, dy: number): void {
    this.show(moved(this.view, dx, dy, this.picture, this.size));
  }

  zoom(factor: number, at: Point = { x: this.size.width / 2, y: this.size.height / 2 }): void {
    this.show(zoomed(this.view, factor, at, this.picture, this.size));
  }

  show(view: Viewport): void {
    this.view = view;
    this.#changed();
  }

  reset(): void {
    [this.view, this.lines] = [FITTED, []];
    this.setWindow(this.picture.window, "file");
  }

  setLines(lines: readonly Line[]): void {
    this.lines = lines;
    this.#changed();
  }

  /** Where the picture lies in the canvas. */
  get place(): Place {
    return placeOf(this.view, this.picture, this.size);
  }

  /** The picture's point under a point of the canvas, kept inside the picture. */
  pointAt({ x, y }: Point): Point {
    const { scale, left, top } = this.place;
    const clip = (value: number, most: number): number => Math.min(most, Math.max(0, value));
    return { x: clip((x - left) / scale, this.picture.width), y: clip((y - top) / scale, this.picture.height) };
  }

  // ------------------------------------------------------------------------------------------------------- drawing
  #changed(): void {
    this.onChange();
    this.draw(true);
  }

  /** Ask for a drawing; `moving` allows a coarser one until the hand rests. */
  draw(moving = false): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#settle);
    const dense = Math.min(globalThis.devicePixelRatio || 1, 3);
    this.#frame = requestAnimationFrame(() => this.#drawAt(moving ? Math.min(1, dense) : dense));
    if (moving && dense > 1) this.#settle = window.setTimeout(() => this.draw(), SETTLED_MS);
  }

  #drawAt(dense: number): void {
    const { width, height } = this.size;
    this.canvas.width = Math.round(width * dense);
    this.canvas.height = Math.round(height * dense);
    this.paint(this.canvas, this.view, { overlay: this.#overlay, dense });
  }

  /** Draw into any canvas of any size, with its lengths; used for the report too. */
  paint(canvas: HTMLCanvasElement, view: Viewport, { overlay = null as HeatImage | null, dense = 1 } = {}): void {
    const context = canvas.getContext("2d");
    if (!context) return;
    const place = placeOf(view, this.picture, canvas);
    const rgba = drawWindowed(this.#pyramid, this.window, place, canvas.width, canvas.height);
    context.putImageData(new ImageData(rgba, canvas.width, canvas.height), 0, 0);
    if (overlay) {
      const { width, height } = this.picture;
      const part = filledPart(width, height, overlay.aspect).map((share) => share * HEAT_SIDE) as [number, number, number, number];
      context.imageSmoothingQuality = "high";
      context.drawImage(overlay.canvas, ...part, place.left, place.top, width * place.scale, height * place.scale);
    }
    drawLines(context, this.lines, place, dense, this.textOf);
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#settle);
  }
}

/** A heatmap as pixels, for `paint`. */
export interface HeatImage {
  readonly canvas: HTMLCanvasElement;
  readonly aspect: "squash" | "pad";
}

export function heatImage({ explanation, opacity, aspect }: Overlay): HeatImage {
  const canvas = document.createElement("canvas");
  canvas.width = HEAT_SIDE;
  canvas.height = HEAT_SIDE;
  const pixels = heatPixels(explanation, HEAT_SIDE, opacity);
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, HEAT_SIDE, HEAT_SIDE), 0, 0);
  return { canvas, aspect };
}
