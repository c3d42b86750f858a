/** A small copy of a picture for the worklist. */

import type { Picture } from "../../core/api";

const SIDE = 64; // pixels of the longer side
const SAMPLES = 3; // by as many, averaged: enough that ribs do not flicker

export function thumbnailOf({ width, height, pixels }: Picture): ImageData {
  const scale = Math.max(width, height) / SIDE;
  const [columns, rows] = [Math.max(1, Math.round(width / scale)), Math.max(1, Math.round(height / scale))];
  const image = new ImageData(columns, rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      let sum = 0;
      for (let i = 0; i < SAMPLES * SAMPLES; i++) {
        const column = Math.floor(((x + ((i % SAMPLES) + 0.5) / SAMPLES) / columns) * width);
        const row = Math.floor(((y + (Math.floor(i / SAMPLES) + 0.5) / SAMPLES) / rows) * height);
        sum += pixels[row * width + column]!;
      }
      const grey = (255 * sum) / (SAMPLES * SAMPLES);
      image.data.set([grey, grey, grey, 255], 4 * (y * columns + x));
    }
  }
  return image;
}
