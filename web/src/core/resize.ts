/**
 * The project's one specification of resizing, "triangle-antialias": see `pocketcxr.imaging.resize`, where it is written
 * down. Each axis on its own, horizontal first, weights and sums in double precision, each axis rounded to single once.
 */

interface Axis {
  first: Int32Array; // first input pixel of each output pixel
  count: Int32Array; // how many
  weights: Float64Array; // `most` per output pixel, summing to 1
  most: number;
}

function axis(n: number, m: number): Axis {
  const scale = n / m;
  const reach = Math.max(scale, 1); // half width of the triangle, in input pixels
  const most = Math.ceil(reach) * 2 + 1;
  const found: Axis = { first: new Int32Array(m), count: new Int32Array(m), weights: new Float64Array(m * most), most };
  for (let i = 0; i < m; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(n, Math.trunc(centre + reach + 0.5)); // exclusive
    let sum = 0;
    for (let j = first; j < last; j++) {
      const weight = Math.max(0, 1 - Math.abs((j + 0.5 - centre) / reach));
      found.weights[i * most + j - first] = weight;
      sum += weight;
    }
    for (let j = 0; j < last - first; j++) found.weights[i * most + j]! /= sum;
    found.first[i] = first;
    found.count[i] = last - first;
  }
  return found;
}

/** Resample [height, width] to [rows, columns]. */
function resample(pixels: Float32Array, width: number, height: number, columns: number, rows: number): Float32Array {
  const across = axis(width, columns);
  const narrow = new Float32Array(height * columns); // [height, columns]
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < columns; x++, to++) {
      const from = y * width + across.first[x]!;
      const at = x * across.most;
      const count = across.count[x]!;
      let sum = 0;
      for (let j = 0; j < count; j++) sum += pixels[from + j]! * across.weights[at + j]!;
      narrow[to] = sum;
    }
  }
  const down = axis(height, rows);
  const small = new Float32Array(rows * columns);
  for (let y = 0, to = 0; y < rows; y++) {
    const at = y * down.most;
    const count = down.count[y]!;
    for (let x = 0; x < columns; x++, to++) {
      let from = down.first[y]! * columns + x;
      let sum = 0;
      for (let j = 0; j < count; j++, from += columns) sum += narrow[from]! * down.weights[at + j]!;
      const value = Math.fround(sum);
      small[to] = value < 0 ? 0 : value > 1 ? 1 : value;
    }
  }
  return small;
}

/** Resize to `size` x `size`: `squash` takes each axis on its own, `pad` keeps the shape and stands on black. */
export function resize(
  pixels: Float32Array,
  width: number,
  height: number,
  options: { size: number; aspect: "squash" | "pad" },
): Float32Array {
  const { size, aspect } = options;
  if (aspect === "squash") return resample(pixels, width, height, size, size);
  const longest = Math.max(width, height);
  const rows = Math.max(1, Math.floor((height * size) / longest + 0.5));
  const columns = Math.max(1, Math.floor((width * size) / longest + 0.5));
  const top = Math.floor((size - rows) / 2);
  const left = Math.floor((size - columns) / 2);
  const inner = resample(pixels, width, height, columns, rows);
  const canvas = new Float32Array(size * size);
  for (let y = 0; y < rows; y++) {
    canvas.set(inner.subarray(y * columns, (y + 1) * columns), (top + y) * size + left);
  }
  return canvas;
}
