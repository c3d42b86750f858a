/** One picture on a canvas, with its window, its place and the heatmap over it; draws at most once a frame. */

import type { Picture } from "../../core/api";
import { filledPart, heatPixels, type Explanation } from "./explanation";
import { drawWindowed, pyramidOf, quantilesOf, type Level, type Preset, type Window } from "./windowing";
import { FITTED, placeOf, type Size, type Viewport } from "./viewport";

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
  readonly quantiles: Float32Array;
  readonly #pyramid: readonly Level[];
  #overlay: { canvas: HTMLCanvasElement; aspect: "squash" | "pad" } | null = null;
  #frame = 0;
  #settle = 0;

  constructor(
    readonly picture: Picture,
    readonly canvas: HTMLCanvasElement,
  ) {
    this.window = picture.window;
    this.#pyramid = pyramidOf(picture.width, picture.height, picture.values);
    this.quantiles = quantilesOf(picture.values);
  }

  /** Size of the canvas on the page, in CSS pixels: the unit of `view` and of pointers. */
  get size(): Size {
    return { width: this.canvas.clientWidth || 1, height: this.canvas.clientHeight || 1 };
  }

  set overlay(overlay: Overlay | null) {
    this.#overlay = overlay && { canvas: heatCanvas(overlay), aspect: overlay.aspect };
    this.draw();
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
    this.paint(this.canvas, this.view);
  }

  /** Draw into any canvas of any size; used for the report too. */
  paint(canvas: HTMLCanvasElement, view: Viewport): void {
    const context = canvas.getContext("2d");
    if (!context) return;
    const place = placeOf(view, this.picture, canvas);
    const rgba = drawWindowed(this.#pyramid, this.window, place, canvas.width, canvas.height);
    context.putImageData(new ImageData(rgba, canvas.width, canvas.height), 0, 0);
    if (!this.#overlay) return;
    const [left, top, width, height] = filledPart(this.picture.width, this.picture.height, this.#overlay.aspect);
    const cells = HEAT_SIDE;
    context.imageSmoothingQuality = "high";
    context.drawImage(
      this.#overlay.canvas,
      left * cells, top * cells, width * cells, height * cells,
      place.left, place.top, this.picture.width * place.scale, this.picture.height * place.scale,
    );
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#settle);
  }
}

function heatCanvas({ explanation, opacity }: Overlay): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = HEAT_SIDE;
  canvas.height = HEAT_SIDE;
  const pixels = heatPixels(explanation, HEAT_SIDE, opacity);
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, HEAT_SIDE, HEAT_SIDE), 0, 0);
  return canvas;
}
