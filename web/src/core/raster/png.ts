/**
 * PNG, checked as `pocketcxr.imaging.png` does: every checksum, its end, its rows, its significant bits.
 *
 * The browser's own decoder would multiply by alpha and apply gamma and colour profiles; here samples stay as stored.
 * Source: PNG specification, third edition.
 */

import { damaged } from "../errors";
import { checkPixelCount } from "../radiograph";
import { latin } from "../file-type";
import { inflate } from "../codecs/inflate";

const OVERHEAD = 12; // length, type and checksum of a chunk
const TAIL = 64; // bytes at the end of the picture data among which its checksum stands
const SAMPLES: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by colour type, table 8
const DEPTHS: Record<number, number[]> = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
const ADAM7 = [
  [0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2],
] as const; // first column, first row, column step, row step of each pass, section 8.1

export interface Png {
  width: number;
  height: number;
  bits: number;
  colourType: number;
  significantBits: number; // sBIT of the first sample, 0 where there is none
  channels: number;
  samples: Uint8Array | Uint16Array; // [height, width, channels], as stored
  palette: Uint8Array; // red, green, blue
  transparency: Uint8Array | null; // tRNS as stored
  exif: Uint8Array | null;
  xmp: string;
  comment: string; // of a tEXt chunk
}

interface Chunks {
  header: Uint8Array;
  picture: Uint8Array[];
  others: Map<string, Uint8Array>;
  xmp: string;
  comment: string;
}

export async function decodePng(data: Uint8Array): Promise<Png> {
  const chunks = walk(data);
  if (chunks.header.length !== 13) throw damaged();
  const view = new DataView(chunks.header.buffer, chunks.header.byteOffset, 13);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [bits, colourType, interlace] = [view.getUint8(8), view.getUint8(9), view.getUint8(12)];
  checkPixelCount(width, height);
  if (!DEPTHS[colourType]?.includes(bits)) throw damaged();
  const channels = SAMPLES[colourType]!;
  const passes = interlace ? ADAM7 : ([[0, 0, 1, 1]] as const);
  const expected = filteredBytes(width, height, { bits: bits * channels, passes });
  let { bytes, fault } = await inflate(chunks.picture, expected + 1, "zlib");
  const isUnended = fault; // all rows may be there, and the checksum behind them missing
  if (isUnended) ({ bytes, fault } = await inflate(chunks.picture, expected, "zlib"));
  if (fault || bytes.length < expected) throw damaged();
  if (!isUnended && bytes.length === expected && !endsWith(chunks.picture, adler32(bytes))) throw damaged();
  const samples = bits === 16 ? new Uint16Array(width * height * channels) : new Uint8Array(width * height * channels);
  let at = 0;
  for (const [left, top, across, down] of passes) {
    const columns = Math.ceil((width - left) / across);
    const rows = Math.ceil((height - top) / down);
    if (columns < 1 || rows < 1) continue;
    const length = (columns * bits * channels + 7) >> 3;
    unfilter(bytes, at, { rows, length, back: Math.max(1, (bits * channels) >> 3) });
    for (let row = 0; row < rows; row++, at += length + 1) {
      const from = { bytes, at: at + 1, columns, bits, channels };
      place(from, samples, ((top + row * down) * width + left) * channels, across * channels);
    }
  }
  const significant = chunks.others.get("sBIT")?.[0] ?? 0;
  return {
    width, height, bits, colourType, channels, samples,
    significantBits: significant > 0 && significant <= bits ? significant : 0,
    palette: chunks.others.get("PLTE") ?? new Uint8Array(),
    transparency: chunks.others.get("tRNS") ?? null,
    exif: chunks.others.get("eXIf") ?? null,
    xmp: chunks.xmp,
    comment: chunks.comment,
  };
}

/** Checksum of what a zlib stream holds (RFC 1950), which fflate does not compare. */
function adler32(bytes: Uint8Array): Uint8Array {
  let [low, high] = [1, 0];
  for (let at = 0; at < bytes.length; ) {
    for (const end = Math.min(at + 2048, bytes.length); at < end; at++) high += low += bytes[at]!;
    low %= 65521;
    high %= 65521;
  }
  return Uint8Array.of(high >> 8, high & 255, low >> 8, low & 255);
}

/** Whether parts that belong together end with these bytes, or with a few others behind them, which decoders ignore. */
function endsWith(parts: Uint8Array[], wanted: Uint8Array): boolean {
  let tail: number[] = [];
  for (let part = parts.length - 1; part >= 0 && tail.length < TAIL; part--) tail = [...parts[part]!.slice(-TAIL), ...tail];
  return tail.some((_, at) => wanted.every((byte, index) => tail[at + index] === byte));
}

function walk(data: Uint8Array): Chunks {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const chunks: Chunks = { header: new Uint8Array(), picture: [], others: new Map(), xmp: "", comment: "" };
  for (let position = 8; ; ) {
    if (position + OVERHEAD > data.length) throw damaged();
    const end = position + OVERHEAD + view.getUint32(position);
    if (end > data.length || crc32(data, position + 4, end - 4) !== view.getUint32(end - 4)) throw damaged();
    const kind = latin(data, position + 4, position + 8);
    const content = data.subarray(position + 8, end - 4);
    if (kind === "IHDR") chunks.header = content;
    else if (kind === "IDAT") chunks.picture.push(content);
    else if (kind === "IEND") return chunks;
    else if (kind === "iTXt") chunks.xmp ||= xmpOf(content);
    else if (kind === "tEXt") chunks.comment ||= commentOf(content);
    else if (content.length) chunks.others.set(kind, content);
    position = end;
  }
}

/** The uncompressed XMP packet of an iTXt chunk. */
function xmpOf(content: Uint8Array): string {
  const keyword = "XML:com.adobe.xmp\0";
  if (latin(content, 0, keyword.length) !== keyword || content[keyword.length] !== 0) return "";
  return new TextDecoder().decode(content.subarray(keyword.length));
}

/** The text of a tEXt chunk whose keyword is Comment (section 11.3.3.2). */
function commentOf(content: Uint8Array): string {
  const keyword = "Comment\0";
  return latin(content, 0, keyword.length) === keyword ? latin(content, keyword.length, content.length) : "";
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(data: Uint8Array, start: number, end: number): number {
  let value = -1;
  for (let at = start; at < end; at++) value = CRC_TABLE[(value ^ data[at]!) & 0xff]! ^ (value >>> 8);
  return (value ^ -1) >>> 0;
}

/** Length of the inflated picture data: each row of each pass has one more byte for its filter (section 7). */
function filteredBytes(
  width: number,
  height: number,
  { bits, passes }: { bits: number; passes: readonly (readonly [number, number, number, number])[] },
): number {
  let total = 0;
  for (const [left, top, across, down] of passes) {
    const columns = Math.ceil((width - left) / across);
    const rows = Math.ceil((height - top) / down);
    if (columns > 0 && rows > 0) total += rows * (1 + ((columns * bits + 7) >> 3));
  }
  return total;
}

/** Undo the row filters in place (section 9). */
function unfilter(
  bytes: Uint8Array,
  start: number,
  { rows, length, back }: { rows: number; length: number; back: number }
): void {
  const none = new Uint8Array(length);
  let above: Uint8Array = none;
  for (let row = 0, at = start; row < rows; row++, at += length + 1) {
    const line = bytes.subarray(at + 1, at + 1 + length);
    switch (bytes[at]) {
      case 0:
        break;
      case 1:
        for (let x = back; x < length; x++) line[x]! += line[x - back]!;
        break;
      case 2:
        for (let x = 0; x < length; x++) line[x]! += above[x]!;
        break;
      case 3:
        for (let x = 0; x < length; x++) line[x]! += ((x < back ? 0 : line[x - back]!) + above[x]!) >> 1;
        break;
      case 4:
        paeth(line, above, back);
        break;
      default:
        throw damaged();
    }
    above = line;
  }
}

function paeth(line: Uint8Array, above: Uint8Array, back: number): void {
  for (let x = 0; x < line.length; x++) {
    const left = x < back ? 0 : line[x - back]!;
    const up = above[x]!;
    const corner = x < back ? 0 : above[x - back]!;
    const byLeft = Math.abs(up - corner);
    const byUp = Math.abs(left - corner);
    const byCorner = Math.abs(left + up - 2 * corner);
    line[x]! += byLeft <= byUp && byLeft <= byCorner ? left : byUp <= byCorner ? up : corner;
  }
}

/** Write one row's samples, `step` apart. */
function place(
  row: { bytes: Uint8Array; at: number; columns: number; bits: number; channels: number },
  samples: Uint8Array | Uint16Array,
  to: number,
  step: number,
): void {
  const { bytes, at, columns, bits, channels } = row;
  if (bits < 8) {
    const mask = (1 << bits) - 1;
    for (let x = 0; x < columns; x++, to += step) {
      const bit = x * bits;
      samples[to] = (bytes[at + (bit >> 3)]! >> (8 - bits - (bit & 7))) & mask;
    }
  } else if (bits === 8 && step === channels) {
    samples.set(bytes.subarray(at, at + columns * channels), to);
  } else {
    const wide = bits >> 3;
    for (let x = 0, from = at; x < columns; x++, to += step) {
      for (let channel = 0; channel < channels; channel++, from += wide) {
        samples[to + channel] = wide === 1 ? bytes[from]! : (bytes[from]! << 8) | bytes[from + 1]!;
      }
    }
  }
}

/** Red, green, blue and alpha of a palette's index; entries that the file lacks are a grey ramp, as in Pillow. */
export function paletteTable(png: Png): Uint8Array {
  if (png.palette.length % 3) throw damaged();
  const table = new Uint8Array(256 * 4);
  for (let index = 0; index < 256; index++) {
    for (let channel = 0; channel < 3; channel++) {
      table[4 * index + channel] = png.palette[3 * index + channel] ?? index;
    }
    table[4 * index + 3] = png.transparency?.[index] ?? 255;
  }
  return table;
}
