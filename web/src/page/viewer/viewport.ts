/** Where the picture lies in the canvas: plain arithmetic of zooming and moving, in canvas pixels. */

import type { Place } from "./windowing";

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Zoom relative to the fitted picture, and the picture's point in the canvas's middle (0 to 1 of its sides). */
export interface Viewport {
  readonly zoom: number;
  readonly x: number;
  readonly y: number;
}

export const FITTED: Viewport = { zoom: 1, x: 0.5, y: 0.5 };
const MOST_ZOOM = 24;

export function placeOf(view: Viewport, picture: Size, canvas: Size): Place {
  const scale = view.zoom * Math.min(canvas.width / picture.width, canvas.height / picture.height);
  return {
    scale,
    left: canvas.width / 2 - view.x * picture.width * scale,
    top: canvas.height / 2 - view.y * picture.height * scale,
  };
}

export function moved(view: Viewport, dx: number, dy: number, picture: Size, canvas: Size): Viewport {
  const { scale } = placeOf(view, picture, canvas);
  return kept({ ...view, x: view.x - dx / (picture.width * scale), y: view.y - dy / (picture.height * scale) });
}

/** Zoom by a factor around a point of the canvas, which stays where it is. */
export function zoomed(
  view: Viewport, factor: number, at: { x: number; y: number }, picture: Size, canvas: Size,
): Viewport {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  const before = placeOf(view, picture, canvas);
  const fixed = { x: (at.x - before.left) / before.scale, y: (at.y - before.top) / before.scale };
  const after = placeOf({ ...view, zoom }, picture, canvas);
  return kept({
    zoom,
    x: (fixed.x - (at.x - canvas.width / 2) / after.scale) / picture.width,
    y: (fixed.y - (at.y - canvas.height / 2) / after.scale) / picture.height,
  });
}

/** Fitted pictures stand in the middle; enlarged ones cannot be lost outside of the canvas. */
function kept(view: Viewport): Viewport {
  if (view.zoom <= 1) return FITTED;
  const clip = (value: number): number => Math.min(1, Math.max(0, value));
  return { zoom: view.zoom, x: clip(view.x), y: clip(view.y) };
}
