/** Lengths on the image: lines between two points, in millimetres where the file states its pixel spacing. */

import type { Picture } from "../../core/api";
import type { Place } from "./windowing";

/** From and to, in pixels of the picture. */
export interface Line {
  readonly from: Point;
  readonly to: Point;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export type Scale = "calibrated" | "detector" | "pixels" | "damaged";

export function scaleOf(spacing: Picture["spacing"]): Scale {
  if (!spacing) return "pixels";
  if (spacing === "damaged") return spacing;
  return spacing.calibrated ? "calibrated" : "detector";
}

/** In millimetres, or in pixels where no spacing is known. */
export function lengthOf({ from, to }: Line, spacing: Picture["spacing"]): { readonly length: number; readonly unit: "mm" | "pixels" } {
  const known = spacing === "damaged" ? null : spacing;
  const length = Math.hypot((to.x - from.x) * (known?.column ?? 1), (to.y - from.y) * (known?.row ?? 1));
  return { length, unit: known ? "mm" : "pixels" };
}

/** Draw lines and their lengths over the picture; `dense` canvas pixels for one of the page. */
export function drawLines(
  context: CanvasRenderingContext2D, lines: readonly Line[], place: Place, dense: number, textOf: (line: Line) => string,
): void {
  const at = ({ x, y }: Point): [number, number] => [place.left + x * place.scale, place.top + y * place.scale];
  context.font = `${14 * dense}px system-ui, sans-serif`;
  context.lineJoin = "round";
  context.textBaseline = "bottom";
  for (const line of lines) {
    const [[x1, y1], [x2, y2]] = [at(line.from), at(line.to)];
    const angle = Math.atan2(y2 - y1, x2 - x1) + Math.PI / 2;
    const [dx, dy] = [6 * dense * Math.cos(angle), 6 * dense * Math.sin(angle)];
    context.beginPath();
    for (const [x, y] of [[x1, y1], [x2, y2]] as const) {
      context.moveTo(x - dx, y - dy);
      context.lineTo(x + dx, y + dy);
    }
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    for (const [colour, width] of [["#000", 4], ["#ffd84d", 1.5]] as const) {
      [context.strokeStyle, context.lineWidth] = [colour, width * dense];
      context.stroke();
    }
    const [text, x, y] = [textOf(line), Math.max(x1, x2) + 8 * dense, x1 > x2 ? y1 : y2];
    [context.strokeStyle, context.lineWidth, context.fillStyle] = ["#000", 4 * dense, "#ffd84d"];
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }
}
