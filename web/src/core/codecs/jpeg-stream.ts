/**
 * The segments of a JPEG that decide about pixels, each with the data behind it; what is damaged or incomplete is refused.
 *
 * The same as `_follow` of `pocketcxr.imaging.jpeg`: the scans must give every coefficient, and what is odd but no damage
 * (fill and stray bytes between segments, bytes behind the end mark, no end mark though the picture is there, an unknown
 * version of JFIF) is left out. Source: ITU-T T.81, annexes B and G.
 */

import { joined } from "../bytes";
import { damaged } from "../errors";
import { latin } from "../file-type";

type Segment = [header: Uint8Array, coded: Uint8Array];

const TABLES = new Set([0xc4, 0xcc, 0xdb, 0xdd]); // Huffman, arithmetic, quantisation, restart interval
const PROGRESSIVE = new Set([0xc2, 0xc6, 0xca, 0xce]);
const LOSSLESS = new Set([0xc3, 0xc7, 0xcb, 0xcf]);
const END_OF_IMAGE = 0xd9;
const START_OF_IMAGE = 0xd8;
const START_OF_SCAN = 0xda;
const COEFFICIENTS = 64;
const MOST_SCANS = 128; // encoders make 20 at most, and each costs a pass over the whole picture

/** `missing` gives for each component the lowest bit that was sent of each coefficient; 0 is complete. */
interface Stream {
  frame: number;
  segments: Segment[];
  missing: Map<number, number[]>;
  scans: number;
}

/** Follow the segments to the end mark, or to the end of what is there. */
export function followJpeg(data: Uint8Array): Segment[] {
  const stream: Stream = { frame: 0, segments: [], missing: new Map(), scans: 0 };
  for (let position = 2; ; ) {
    const at = data.indexOf(0xff, position);
    if (at < 0 || at + 1 >= data.length) break;
    const marker = data[at + 1]!;
    position = at + 2;
    if (marker === 0xff) {
      position = at + 1; // a fill byte
    } else if (marker === END_OF_IMAGE || (marker === START_OF_IMAGE && stream.scans)) {
      break;
    } else if (!withoutLength(marker)) {
      position = at + 2 + (data[at + 2] ?? 0) * 256 + (data[at + 3] ?? 0);
      if (marker < 0xc0 || position > data.length || position < at + 4) throw damaged();
      position = take(stream, data, at, position);
    }
  }
  const complete = [...stream.missing.values()].every((lowest) => lowest.every((bit) => bit === 0));
  if (!complete || !stream.scans) throw damaged();
  return stream.segments.map(([segment, coded]) => [withKnownTransform(segment, stream.missing.size), coded]);
}

/** A whole stream again. */
export function joinedJpeg(segments: Segment[]): Uint8Array {
  return joined([Uint8Array.of(0xff, START_OF_IMAGE), ...segments.flat(), Uint8Array.of(0xff, END_OF_IMAGE)]);
}

/** Leave out zeros behind the coded data of each scan, but not the one that makes a coded FF of its FF. */
export function unpaddedJpeg(segments: Segment[]): Segment[] {
  return segments.map(([segment, coded]) => {
    let end = coded.length;
    while (end && coded[end - 1] === 0) end -= 1;
    if (end < coded.length && coded[end - 1] === 0xff) end += 1;
    return [segment, coded.subarray(0, end)];
  });
}

/** Stray bytes, restart marks outside a scan, and a start mark. */
function withoutLength(marker: number): boolean {
  return marker <= 1 || (marker >= 0xd0 && marker <= START_OF_IMAGE);
}

/** Keep a segment that decides about pixels; return where the next one may begin. */
function take(stream: Stream, data: Uint8Array, start: number, end: number): number {
  const marker = data[start + 1]!;
  const segment = data.subarray(start, end);
  if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
    takeFrame(stream, segment);
  } else if (marker === START_OF_SCAN) {
    const stop = nextMark(data, end);
    let last = stop;
    while (last > end && data[last - 1] === 0xff) last -= 1;
    takeScan(stream, segment, data.subarray(end, last));
    return stop;
  } else if (TABLES.has(marker)) {
    stream.segments.push([segment, data.subarray(end, end)]);
  } else if (latin(segment, 4, 9) === "JFIF\0") {
    const known = segment.slice();
    if (known.length > 9) known[9] = 1; // its version, of which libjpeg knows one
    stream.segments.push([known, data.subarray(end, end)]);
  } else if (latin(segment, 4, 9) === "Adobe") {
    stream.segments.push([segment, data.subarray(end, end)]);
  }
  return end;
}

/** FF 00 stands for a coded FF; restart marks belong to the scan. */
function nextMark(data: Uint8Array, from: number): number {
  for (let at = data.indexOf(0xff, from); at >= 0 && at + 1 < data.length; at = data.indexOf(0xff, at + 1)) {
    const marker = data[at + 1]!;
    if (marker >= 1 && marker !== 0xff && !(marker >= 0xd0 && marker <= 0xd7)) return at;
  }
  return data.length;
}

function takeFrame(stream: Stream, segment: Uint8Array): void {
  if (stream.frame || segment.length < 10) throw damaged();
  stream.frame = segment[1]!;
  // a coefficient has 16 bits at most, so that none has been sent yet
  for (let at = 10; at < segment.length; at += 3) stream.missing.set(segment[at]!, Array<number>(COEFFICIENTS).fill(16));
  stream.segments.push([segment, segment.subarray(0, 0)]);
}

/** libjpeg takes any colour transform of Adobe that it does not know for the second. */
function withKnownTransform(segment: Uint8Array, components: number): Uint8Array {
  const isAdobe = latin(segment, 4, 9) === "Adobe" && segment.length >= 16;
  if (components !== 3 || !isAdobe || segment[15]! <= 1) return segment;
  const known = segment.slice();
  known[15] = 1;
  return known;
}

function takeScan(stream: Stream, segment: Uint8Array, coded: Uint8Array): void {
  stream.scans += 1;
  const count = segment[4] ?? 0;
  const progress = 5 + 2 * count;
  const components = Array.from({ length: count }, (_, one) => segment[5 + 2 * one] ?? -1);
  if (stream.scans > MOST_SCANS || !count || segment.length < progress + 3) throw damaged();
  if (!components.every((component) => stream.missing.has(component))) throw damaged();
  let [first, last, lowest] = [segment[progress]!, segment[progress + 1]!, segment[progress + 2]! & 15];
  if (!PROGRESSIVE.has(stream.frame)) {
    [first, last, lowest] = [0, COEFFICIENTS - 1, 0];
    if (!LOSSLESS.has(stream.frame)) {
      segment = Uint8Array.of(...segment.subarray(0, progress), first, last, lowest); // these have no meaning here
    }
  } else if (!(first <= last && last < COEFFICIENTS)) {
    throw damaged();
  }
  for (const component of components) stream.missing.get(component)!.fill(lowest, first, last + 1);
  stream.segments.push([segment, coded]);
}
