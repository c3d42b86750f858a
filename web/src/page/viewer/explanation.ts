/** Heatmaps as the Python package draws them (`pocketcxr.inference.saliency`): same maps, same scale, same colours. */

import type { Manifest, Prediction } from "../../core/api";

/** Evidence below this never reaches full colour: an image without evidence must not show a hot spot. */
export const FULL_COLOUR_LOGITS = 2;

// Eleven steps of matplotlib's "inferno" (CC0): lightness grows with the value, colour-blind safe.
const INFERNO: readonly (readonly [number, number, number])[] = [
  [0, 0, 4], [22, 11, 57], [66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84],
  [221, 81, 58], [243, 120, 25], [252, 165, 10], [246, 215, 70], [252, 255, 164],
];

export interface Explanation {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

/** Evidence for one class against the others in calibrated logits, where what all share cancels; for a finding by itself. */
export function explanationOf(saliency: NonNullable<Prediction["saliency"]>, label: string, manifest: Manifest): Explanation {
  const { rows, columns, maps } = saliency;
  const own = maps[label];
  if (!own) throw new Error(`no map of ${label}`);
  const finding = manifest.findings?.find((one) => one.label === label);
  const others = finding ? [] : manifest.labels.filter((one) => one !== label).map((one) => maps[one]);
  const temperature = finding?.temperature ?? manifest.temperature;
  const values = Float32Array.from(own, (value, i) => {
    const mean = others.reduce((sum, map) => sum + (map?.[i] ?? 0), 0) / Math.max(1, others.length);
    return (value - mean) / temperature;
  });
  return { rows, columns, values };
}

/** The strength at which colour is full, in logits. */
export function fullColour(explanation: Explanation): number {
  return explanation.values.reduce((most, value) => Math.max(most, value), FULL_COLOUR_LOGITS);
}

/**
 * RGBA of a square heatmap, `side` pixels, over the network's square input.
 *
 * Opacity grows with strength, `opacity` at most.
 */
export function heatPixels(explanation: Explanation, side: number, opacity: number): Uint8ClampedArray<ArrayBuffer> {
  const full = fullColour(explanation);
  const strength = enlarge(
    explanation.values.map((value) => Math.min(1, Math.max(0, value / full))),
    explanation.rows,
    explanation.columns,
    side,
  );
  const rgba = new Uint8ClampedArray(side * side * 4);
  for (let i = 0; i < strength.length; i++) {
    const s = Math.min(1, Math.max(0, strength[i]!));
    const [red, green, blue] = inferno(s);
    rgba.set([red, green, blue, 255 * opacity * s], 4 * i);
  }
  return rgba;
}

/** The part of the network's square that the picture fills, 0 to 1: left, top, width, height. */
export function filledPart(width: number, height: number, aspect: "squash" | "pad"): [number, number, number, number] {
  if (aspect === "squash") return [0, 0, 1, 1];
  const longest = Math.max(width, height);
  const [w, h] = [width / longest, height / longest];
  return [(1 - w) / 2, (1 - h) / 2, w, h];
}

export function inferno(strength: number): [number, number, number] {
  const at = Math.min(1, Math.max(0, strength)) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(at), INFERNO.length - 2);
  const part = at - low;
  const [a, b] = [INFERNO[low]!, INFERNO[low + 1]!];
  return [0, 1, 2].map((i) => a[i]! + (b[i]! - a[i]!) * part) as [number, number, number];
}

/** Bicubic enlargement (a = -1/2, weights renormalised at the edges), as Pillow's BICUBIC does. */
export function enlarge(values: Float32Array, rows: number, columns: number, side: number): Float32Array {
  const across = weights(columns, side);
  const down = weights(rows, side);
  const middle = new Float32Array(rows * side);
  for (let row = 0; row < rows; row++) {
    for (let x = 0; x < side; x++) {
      const { first, factors } = across[x]!;
      let sum = 0;
      factors.forEach((factor, k) => (sum += factor * values[row * columns + first + k]!));
      middle[row * side + x] = sum;
    }
  }
  const out = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    const { first, factors } = down[y]!;
    for (let x = 0; x < side; x++) {
      let sum = 0;
      factors.forEach((factor, k) => (sum += factor * middle[(first + k) * side + x]!));
      out[y * side + x] = sum;
    }
  }
  return out;
}

function weights(length: number, side: number): { first: number; factors: number[] }[] {
  const scale = length / side;
  return Array.from({ length: side }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 + 0.5));
    const last = Math.min(length, Math.floor(centre + 2 + 0.5));
    const raw = Array.from({ length: last - first }, (_, k) => cubic(first + k + 0.5 - centre));
    const sum = raw.reduce((total, factor) => total + factor, 0);
    return { first, factors: raw.map((factor) => factor / sum) };
  });
}

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}
