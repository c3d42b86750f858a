/** Picture values to grey pixels: window level, presets, and a pyramid so that every zoom costs the same. */

export interface Window {
  /** In the picture's values. */
  readonly centre: number;
  readonly width: number;
  readonly inverted: boolean;
}

export interface Level {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}

/** What of the picture is shown: `scale` canvas pixels per picture pixel, the picture's corner at `left`, `top`. */
export interface Place {
  readonly scale: number;
  readonly left: number;
  readonly top: number;
}

/** The picture and its halvings down to 256 pixels: shrinking by averages, not by leaving pixels out. */
export function pyramidOf(width: number, height: number, values: Float32Array): Level[] {
  const levels: Level[] = [{ width, height, values }];
  for (let last = levels[0]!; Math.min(last.width, last.height) > 256; last = levels.at(-1)!) levels.push(halved(last));
  return levels;
}

function halved({ width, height, values }: Level): Level {
  const [columns, rows] = [width >> 1, height >> 1];
  const out = new Float32Array(columns * rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const at = 2 * y * width + 2 * x;
      out[y * columns + x] = (values[at]! + values[at + 1]! + values[at + width]! + values[at + width + 1]!) / 4;
    }
  }
  return { width: columns, height: rows, values: out };
}

/** Draw what is in view into RGBA pixels of `columns` x `rows`; outside of the picture everything is transparent. */
export function drawWindowed(
  pyramid: readonly Level[], window: Window, place: Place, columns: number, rows: number,
): Uint8ClampedArray<ArrayBuffer> {
  const whole = pyramid[0]!;
  // the smallest level that still has a pixel for each of the canvas
  const level = pyramid.findLast((one) => one.width >= whole.width * place.scale) ?? whole;
  const [stepX, stepY] = [level.width / whole.width / place.scale, level.height / whole.height / place.scale];
  const gain = (window.inverted ? -255 : 255) / window.width;
  const offset = window.inverted ? 255 : 0;
  const base = -(window.centre - window.width / 2) * gain + offset;
  const left = new Int32Array(columns);
  const right = new Int32Array(columns);
  const part = new Float32Array(columns);
  for (let x = 0; x < columns; x++) {
    const at = (x + 0.5 - place.left) * stepX;
    if (at < 0 || at >= level.width) left[x] = -1;
    else [left[x], right[x], part[x]] = neighbours(at, level.width);
  }
  const buffer = new ArrayBuffer(columns * rows * 4);
  const out = new Uint32Array(buffer);
  const { values, width } = level;
  for (let y = 0; y < rows; y++) {
    const at = (y + 0.5 - place.top) * stepY;
    if (at < 0 || at >= level.height) continue;
    const [upper, lower, down] = neighbours(at, level.height);
    const [a, b] = [upper * width, lower * width];
    for (let x = 0; x < columns; x++) {
      const i = left[x]!;
      if (i < 0) continue;
      const [j, across] = [right[x]!, part[x]!];
      const above = values[a + i]! + (values[a + j]! - values[a + i]!) * across;
      const below = values[b + i]! + (values[b + j]! - values[b + i]!) * across;
      const grey = (above + (below - above) * down) * gain + base;
      const byte = grey <= 0 ? 0 : grey >= 255 ? 255 : (grey + 0.5) | 0;
      out[y * columns + x] = 0xff000000 | (byte << 16) | (byte << 8) | byte; // every platform of today is little-endian
    }
  }
  return new Uint8ClampedArray(buffer);
}

/** The two pixels that a place lies between, and how far it is from the first. */
function neighbours(at: number, length: number): [number, number, number] {
  const centre = Math.max(0, at - 0.5);
  const first = Math.min(Math.floor(centre), length - 1);
  return [first, Math.min(first + 1, length - 1), centre - first];
}

export type Preset = "file" | "full" | "lungs" | "bones" | "contrast";
export const PRESETS: readonly Preset[] = ["file", "full", "lungs", "bones", "contrast"];

// Shares of the pixels, from dark to bright as shown, that a preset spreads over the whole grey scale.
const RANGES: Record<Exclude<Preset, "file">, readonly [number, number]> = {
  full: [0, 1],
  lungs: [0.02, 0.65],
  bones: [0.4, 0.998],
  contrast: [0.2, 0.8],
};

/** Values in order at 0, 1/512, ... 1 of the pixels, sampled: cheap percentiles. */
export function quantilesOf(values: Float32Array): Float32Array {
  const step = Math.max(1, Math.floor(values.length / 65_536));
  const samples = new Float32Array(Math.ceil(values.length / step));
  for (let i = 0, k = 0; i < values.length; i += step) samples[k++] = values[i]!;
  samples.sort();
  return Float32Array.from({ length: 513 }, (_, k) => samples[Math.round((k / 512) * (samples.length - 1))]!);
}

export function presetWindow(preset: Preset, file: Window, quantiles: Float32Array): Window {
  if (preset === "file") return file;
  const [dark, bright] = RANGES[preset];
  const [low, high] = file.inverted ? [1 - bright, 1 - dark] : [dark, bright];
  const at = (share: number): number => quantiles[Math.round(share * (quantiles.length - 1))]!;
  const width = Math.max(at(high) - at(low), smallestWidth(quantiles));
  return { centre: (at(high) + at(low)) / 2, width, inverted: file.inverted };
}

/** Narrower windows would only show noise, or divide by nothing. */
export function smallestWidth(quantiles: Float32Array): number {
  return Math.max(rangeOf(quantiles) / 200, 1e-6);
}

export function rangeOf(quantiles: Float32Array): number {
  return quantiles.at(-1)! - quantiles[0]!;
}
