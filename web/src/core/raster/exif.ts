/** EXIF orientation, and turning a picture upright by it. */

const ORIENTATION = 0x0112;

/** 1 to 8; anything else that a file says there is undefined and counts as 1. XMP answers where EXIF does not. */
export function orientationOf(exif: Uint8Array | null, xmp: string): number {
  const value = exif ? fromExif(exif) : undefined;
  const found = value ?? Number(/tiff:Orientation(?:="|>)([0-9])/.exec(xmp)?.[1] ?? 1);
  return found > 1 && found <= 8 ? found : 1;
}

/** The orientation in the first directory of a TIFF header (EXIF 2.32 section 4.5). */
function fromExif(exif: Uint8Array): number | undefined {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    const entries = view.getUint16(directory, little);
    for (let entry = 0; entry < entries; entry++) {
      const at = directory + 2 + 12 * entry;
      if (view.getUint16(at, little) !== ORIENTATION) continue;
      const type = view.getUint16(at + 2, little);
      if (view.getUint32(at + 4, little) !== 1) return 1; // several values are no orientation
      return type === 3 ? view.getUint16(at + 8, little) : type === 4 ? view.getUint32(at + 8, little) : 1;
    }
  } catch {
    return undefined; // a damaged block is as good as none
  }
  return undefined;
}

/** Turn [height, width] upright (EXIF 2.32 section 4.6.4: where the stored first row and column belong). */
export function upright(
  pixels: Float32Array,
  { width, height }: { width: number; height: number },
  orientation: number,
): { pixels: Float32Array; width: number; height: number } {
  if (orientation === 1) return { pixels, width, height };
  const swapped = orientation > 4;
  const [columns, rows] = swapped ? [height, width] : [width, height];
  const mirrored = [2, 3, 7, 8].includes(orientation); // along the stored rows
  const flipped = [3, 4, 6, 7].includes(orientation); // along the stored columns
  const turned = new Float32Array(pixels.length);
  for (let y = 0, to = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, to++) {
      const [column, row] = swapped ? [y, x] : [x, y];
      turned[to] = pixels[(flipped ? height - 1 - row : row) * width + (mirrored ? width - 1 - column : column)]!;
    }
  }
  return { pixels: turned, width: columns, height: rows };
}
