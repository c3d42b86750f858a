/** Mouse, pen, fingers and wheel on the image become calls. Positions are in CSS pixels of the canvas. */

import type { Mode } from "./keys";
import type { Point } from "./measure";

export interface Gestures {
  /** What one pointer does when it drags. */
  mode(): Mode;
  level(dx: number, dy: number): void;
  move(dx: number, dy: number): void;
  zoom(factor: number, at: Point): void;
  /** A line was begun, drawn on, ended, or given up for a second finger. */
  line(step: "begin" | "extend" | "end" | "cancel", at: Point): void;
}

export function listenTo(canvas: HTMLCanvasElement, gestures: Gestures): void {
  const pointers = new Map<number, Point>();
  const positionOf = (event: MouseEvent): Point => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const moves = (event: PointerEvent): boolean => gestures.mode() === "move" || event.shiftKey || event.buttons === 4;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, positionOf(event));
    if (gestures.mode() !== "measure" || moves(event)) return;
    gestures.line(pointers.size > 1 ? "cancel" : "begin", positionOf(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = positionOf(event);
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const distance = (point: Point): number => Math.hypot(point.x - other.x, point.y - other.y);
      gestures.move(dx / 2, dy / 2);
      gestures.zoom(Math.max(distance(now), 1) / Math.max(distance(before), 1), {
        x: (now.x + other.x) / 2,
        y: (now.y + other.y) / 2,
      });
    } else if (moves(event)) {
      gestures.move(dx, dy);
    } else if (gestures.mode() === "measure") {
      gestures.line("extend", now);
    } else {
      gestures.level(dx, dy);
    }
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"] as const) {
    canvas.addEventListener(end, (event) => {
      if (pointers.delete(event.pointerId)) gestures.line("end", positionOf(event));
    });
  }
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      gestures.zoom(Math.exp(-event.deltaY * lines * 0.0015), positionOf(event));
    },
    { passive: false },
  );
}
