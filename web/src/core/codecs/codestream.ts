/**
 * What a compressed picture inside DICOM says of itself, read before any decoder sees it, and its plain form.
 *
 * The same checks as `pocketcxr.imaging.dicom.codestream`, so that a file is taken or refused alike.
 */

import { joined } from "../bytes";
import { latin } from "../file-type";

export type Process = "jpeg" | "jpeg-lossless" | "jpeg-ls" | "jpeg-2000";

const START_OF_SCAN = 0xda;
const FILL = 0xff;
const JFIF = 0xe0;
const ADOBE = 0xee;
const ADOBE_LENGTH = 12; // of its content; libjpeg takes a shorter segment for another program's
const SHORTEST_FRAME = 13; // bytes, with its marker and one component

/**
 * `process`: the decoder that it takes; `signed` is told by JPEG 2000 only. `plain` are the bytes for a decoder: without
 * fill bytes, stray bytes and remarks, and without what follows the end mark. `ended`: whether there is such a mark.
 */
export interface Codestream {
  width: number;
  height: number;
  bits: number;
  samples: number;
  process: Process;
  signed: boolean;
  plain: Uint8Array;
  ended: boolean;
}

/** Header of a JPEG, JPEG-LS or JPEG 2000 codestream; null where it is none of them. */
export function readCodestream(data: Uint8Array): Codestream | null {
  const at = jpeg2000At(data);
  if (at >= 0) return readJpeg2000(data, at);
  return data[0] === 0xff && data[1] === 0xd8 ? readJpeg(data) : null;
}

/** Where a JPEG 2000 codestream begins; also inside a JP2 container, which DICOM forbids and some archives write. */
function jpeg2000At(data: Uint8Array): number {
  const last = Math.min(data.length, 4096) - 4;
  for (let at = 0; at <= last; at++) {
    if (data[at] === 0xff && data[at + 1] === 0x4f && data[at + 2] === 0xff && data[at + 3] === 0x51) return at;
  }
  return -1;
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

function readJpeg2000(data: Uint8Array, at: number): Codestream | null {
  if (data.length < at + 43) return null; // ITU-T T.800 A.5.1: markers, Lsiz, Rsiz, then
  const view = viewOf(data);
  const [right, bottom, left, top] = [8, 12, 16, 20].map((offset) => view.getUint32(at + offset)) as
    [number, number, number, number]; // Xsiz, Ysiz, XOsiz, YOsiz
  const depth = view.getUint8(at + 42); // Ssiz: sign in the highest bit, bits less one
  return {
    width: right - left,
    height: bottom - top,
    bits: (depth & 0x7f) + 1,
    samples: view.getUint16(at + 40),
    process: "jpeg-2000",
    signed: (depth & 0x80) !== 0,
    plain: data,
    ended: tilesEnd(data, at),
  };
}

/** Whether the tile-parts reach to the end mark (T.800 A.4): each says how long it is. */
function tilesEnd(data: Uint8Array, start: number): boolean {
  const view = viewOf(data);
  let end = data.length - 2;
  while (end >= 0 && !marked(data, end, 0xd9)) end -= 1;
  let at = data.indexOf(0xff, start);
  while (at >= 0 && !marked(data, at, 0x90)) at = data.indexOf(0xff, at + 1);
  while (at >= 0 && at < end && marked(data, at, 0x90)) {
    const length = at + 10 <= data.length ? view.getUint32(at + 6) : 0;
    if (!length) return true; // the last one, up to the end mark
    at += length;
  }
  return at >= 0 && at === end;
}

function marked(data: Uint8Array, at: number, marker: number): boolean {
  return data[at] === 0xff && data[at + 1] === marker;
}

/**
 * Follow the segments to the first scan; null where there is none, or no frame before it. Fill bytes (T.81 B.1.1.2) and
 * stray ones are passed over, as libjpeg does.
 */
function readJpeg(data: Uint8Array): Codestream | null {
  const segments: [number, Uint8Array][] = [];
  for (let at = data.indexOf(0xff, 2); at >= 0 && at < data.length - 3; ) {
    const marker = data[at + 1]!;
    if (marker === START_OF_SCAN) return greyOrColoured(segments, data, at);
    if (marker === FILL) {
      at += 1;
    } else if (withoutLength(marker)) {
      at = data.indexOf(0xff, at + 2);
    } else {
      const end = at + 2 + data[at + 2]! * 256 + data[at + 3]!;
      segments.push([marker, data.subarray(at, end)]);
      at = data.indexOf(0xff, end);
    }
  }
  return null;
}

function greyOrColoured(segments: [number, Uint8Array][], data: Uint8Array, scan: number): Codestream | null {
  const frame = segments.find(([marker]) => isStartOfFrame(marker));
  if (!frame || frame[1].length < SHORTEST_FRAME) return null;
  const view = viewOf(frame[1]);
  const samples = view.getUint8(9);
  const kept = segments
    .filter(([marker, bytes]) => isStartOfFrame(marker) || isTable(marker) || (samples > 1 && tellsColours(marker, bytes)))
    .map(([, bytes]) => bytes);
  let end = data.indexOf(0xff, scan + 2);
  while (end >= 0 && !marked(data, end, 0xd9)) end = data.indexOf(0xff, end + 1);
  const parts = [data.subarray(0, 2), ...kept, data.subarray(scan, end), Uint8Array.of(0xff, 0xd9)];
  return {
    width: view.getUint16(7),
    height: view.getUint16(5),
    bits: view.getUint8(4),
    samples,
    process: frame[0] === 0xc3 ? "jpeg-lossless" : frame[0] === 0xf7 ? "jpeg-ls" : "jpeg",
    signed: false,
    plain: end >= 0 ? joined(parts) : data,
    ended: end >= 0,
  };
}

/** A codestream with bytes before its end mark that a decoder reads only where coded data are missing. */
export function followedByNoise(plain: Uint8Array): Uint8Array {
  return joined([plain.subarray(0, plain.length - 2), new Uint8Array(64).fill(0x5a), Uint8Array.of(0xff, 0xd9)]);
}

/** Whether a grey lossless JPEG has another number of restart marks than its restart interval asks for. */
export function lacksRestarts(plain: Uint8Array, pixels: number): boolean {
  let interval = 0;
  let marks = 0;
  for (let at = plain.indexOf(0xff, 2); at >= 0; at = plain.indexOf(0xff, at + 1)) {
    const marker = plain[at + 1]!;
    if (marker === 0xdd && plain[at + 2] === 0 && plain[at + 3] === 4) interval = plain[at + 4]! * 256 + plain[at + 5]!;
    if (marker >= 0xd0 && marker <= 0xd7) marks += 1;
  }
  return interval > 0 && marks !== Math.ceil(pixels / interval) - 1;
}

/** ITU-T T.81 table B.1; T.87 for F7. */
function isStartOfFrame(marker: number): boolean {
  return marker === 0xf7 || (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker));
}

/** Huffman and arithmetic tables, quantisation, restart interval, JPEG-LS parameters: what decoding a grey picture takes. */
function isTable(marker: number): boolean {
  return [0xc4, 0xcc, 0xdb, 0xdd, 0xf8].includes(marker);
}

/** Stuffed byte, temporary, restart marks, start of image. */
function withoutLength(marker: number): boolean {
  return marker <= 1 || (marker >= 0xd0 && marker <= 0xd8);
}

function tellsColours(marker: number, bytes: Uint8Array): boolean {
  if (marker === ADOBE) return latin(bytes, 4, 9) === "Adobe" && bytes.length - 4 >= ADOBE_LENGTH;
  return marker === JFIF && latin(bytes, 4, 9) === "JFIF\0";
}
