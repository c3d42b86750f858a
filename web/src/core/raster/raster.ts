/** PNG, JPEG, BMP and WebP -> grey picture, by each format's own definition of its scale (Python: `imaging.raster`). */

import { toGrey } from "../colour";
import { damaged, InputError } from "../errors";
import { checkPixelCount, rasterMetadata, type Radiograph } from "../radiograph";
import type { RasterFormat } from "../file-type";
import { orientationOf, upright } from "./exif";
import { frameCount } from "./frames";
import { decodeJpeg, readJpegHeader } from "../codecs/jpeg";
import { decodePng, paletteTable, type Png } from "./png";

/** Grey pixels [H, W] in [0, 1] before any rotation. */
interface Grey {
  pixels: Float32Array;
  colour: boolean;
  bits: number;
  notes: string[];
}

export async function readRaster(data: Uint8Array, format: RasterFormat): Promise<Radiograph> {
  if (format === "TIFF") throw new InputError("not-in-browser", "TIFF");
  const frames = frameCount(data, format);
  if (frames > 1) throw new InputError("several-frames", String(frames));
  if (format === "PNG") {
    const png = await decodePng(data);
    return finish("PNG", png, greyOfPng(png), orientationOf(png.exif, png.xmp), png.comment);
  }
  if (format === "JPEG") {
    const header = readJpegHeader(data);
    checkPixelCount(header.width, header.height);
    // rare, not for this build of libjpeg-turbo, and a browser's own decoder hides damage
    if (header.components === 4) throw new InputError("not-in-browser", "JPEG of four inks");
    const jpeg = await decodeJpeg(data);
    const count = jpeg.width * jpeg.height;
    const { pixels, colour } = jpeg.channels === 1 ? plain(jpeg.samples, 255) : coloured(jpeg.samples, 3, count, 255);
    return finish("JPEG", jpeg, { pixels, colour, bits: 8, notes: [] }, orientationOf(header.exif, header.xmp), header.comment);
  }
  return readByBrowser(data, format);
}

function finish(
  format: "PNG" | "JPEG" | "BMP" | "WEBP",
  size: { width: number; height: number },
  grey: Grey,
  orientation: number,
  comment = "",
): Radiograph {
  const turned = upright(grey.pixels, size, orientation);
  if (orientation > 1) grey.notes.push(`EXIF orientation ${orientation} turned upright`);
  return {
    pixels: turned.pixels,
    values: turned.pixels, // no stage stands between them, as in DICOM: a copy would only take time and memory
    window: { centre: 0.5, width: 1, inverted: false },
    spacing: null,
    metadata: rasterMetadata(format, { width: turned.width, height: turned.height }, grey, comment),
  };
}

function plain(samples: Uint8Array | Uint16Array, largest: number): { pixels: Float32Array; colour: boolean } {
  const table = Float32Array.from({ length: largest + 1 }, (_, value) => value / largest);
  const pixels = new Float32Array(samples.length);
  for (let at = 0; at < samples.length; at++) pixels[at] = table[samples[at]!]!;
  return { pixels, colour: false };
}

function coloured(
  data: ArrayLike<number>,
  stride: number,
  count: number,
  largest: number,
): { pixels: Float32Array; colour: boolean } {
  const { grey, colour } = toGrey({ data, stride, count }, largest);
  return { pixels: grey, colour };
}

function greyOfPng(png: Png): Grey {
  if (png.colourType === 0) return png.bits === 16 ? grey16(png) : grey8(png);
  const count = png.width * png.height;
  const notes = png.bits === 16 ? ["16-bit samples read as 8 bits"] : []; // the low byte is dropped, as in Pillow
  const rgba = channelsOf(png, count);
  const { pixels, colour } = coloured(rgba.data, rgba.stride, count, 255);
  const grey = { pixels, colour, bits: png.bits, notes };
  if (rgba.alpha && drawnOnBlack(pixels, rgba.alpha)) notes.push("transparent parts drawn black");
  return grey;
}

/** Eight-bit red, green, blue next to each other, and alpha where the file has any. */
function channelsOf(png: Png, count: number): { data: Uint8Array; stride: number; alpha: Uint8Array | null } {
  const { samples, channels } = png;
  const eight = png.bits === 16 ? Uint8Array.from(samples, (value) => value >> 8) : (samples as Uint8Array);
  if (png.colourType === 2) return { data: eight, stride: 3, alpha: keyed(png, eight, count) };
  const data = new Uint8Array(3 * count);
  const alpha = png.colourType === 3 && !png.transparency ? null : new Uint8Array(count);
  const palette = png.colourType === 3 ? paletteTable(png) : null;
  for (let pixel = 0; pixel < count; pixel++) {
    const at = pixel * channels;
    for (let channel = 0; channel < 3; channel++) {
      data[3 * pixel + channel] = palette
        ? palette[4 * eight[at]! + channel]!
        : eight[at + (channels === 4 ? channel : 0)]!;
    }
    if (alpha) alpha[pixel] = palette ? palette[4 * eight[at]! + 3]! : eight[at + channels - 1]!;
  }
  return { data, stride: 3, alpha };
}

/** Alpha of red, green and blue with one transparent colour; of 16-bit keys Pillow compares the low bytes. */
function keyed(png: Png, eight: Uint8Array, count: number): Uint8Array | null {
  const key = png.transparency;
  if (!key || key.length < 6) return null;
  const alpha = new Uint8Array(count).fill(255);
  for (let pixel = 0; pixel < count; pixel++) {
    const at = 3 * pixel;
    if (eight[at] === key[1] && eight[at + 1] === key[3] && eight[at + 2] === key[5]) alpha[pixel] = 0;
  }
  return alpha;
}

function drawnOnBlack(pixels: Float32Array, alpha: Uint8Array): boolean {
  if (alpha.every((value) => value === 255)) return false;
  for (let at = 0; at < pixels.length; at++) pixels[at]! *= Math.fround(alpha[at]! / 255);
  return true;
}

function grey8(png: Png): Grey {
  const scale = 255 / (2 ** png.bits - 1); // 1, 2 and 4 bits are widened to 0 .. 255
  const samples = scale === 1 ? (png.samples as Uint8Array) : Uint8Array.from(png.samples, (value) => value * scale);
  const { pixels } = plain(samples, 255);
  const grey: Grey = { pixels, colour: false, bits: png.bits, notes: [] };
  const key = greyKey(png);
  if (key === null) return grey;
  // the key stays in the file's own scale, save that of one bit
  blacken(pixels, samples, png.bits > 1 && png.bits < 8 ? Math.floor((key * 255) / (2 ** png.bits - 1)) : key);
  grey.notes.push("transparent parts drawn black");
  return grey;
}

function grey16(png: Png): Grey {
  let bits = 16;
  let samples = png.samples as Uint16Array;
  const notes: string[] = [];
  if (png.significantBits && png.significantBits < bits) {
    // PNG 13.12: the encoder scaled the samples up, and shifting right recovers the original ones
    samples = samples.map((value) => value >> (16 - png.significantBits));
    notes.push(`${png.significantBits} significant bits (sBIT)`);
    bits = png.significantBits;
  }
  const largest = 2 ** bits - 1;
  if (samples.some((value) => value > largest)) throw new InputError("values-exceed-bits", String(bits));
  const { pixels } = plain(samples, largest);
  const key = greyKey(png);
  if (key !== null) {
    blacken(pixels, png.samples, key);
    notes.push("transparent parts drawn black");
  }
  return { pixels, colour: false, bits, notes };
}

function greyKey({ transparency }: Png): number | null {
  return transparency && transparency.length >= 2 ? (transparency[0]! << 8) | transparency[1]! : null;
}

function blacken(pixels: Float32Array, samples: ArrayLike<number>, key: number): void {
  for (let at = 0; at < pixels.length; at++) if (samples[at] === key) pixels[at] = 0;
}

/** By the browser's own decoder: formats too rare for X-rays to bundle a decoder. */
async function readByBrowser(data: Uint8Array, format: "BMP" | "WEBP" | "JPEG"): Promise<Radiograph> {
  let bitmap: ImageBitmap;
  try {
    const type = `image/${format.toLowerCase()}`;
    bitmap = await createImageBitmap(new Blob([data as BlobPart], { type }), {
      imageOrientation: "none",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw damaged();
  }
  const { width, height } = bitmap;
  checkPixelCount(width, height);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  if (!context) throw new InputError("not-in-browser", format);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const { pixels, colour } = coloured(rgba, 4, width * height, 255);
  const alpha = Uint8Array.from({ length: width * height }, (_, pixel) => rgba[4 * pixel + 3]!);
  const notes = drawnOnBlack(pixels, alpha) ? ["transparent parts drawn black"] : [];
  return finish(format, { width, height }, { pixels, colour, bits: 8, notes }, 1);
}
