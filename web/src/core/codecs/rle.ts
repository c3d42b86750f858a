/** RLE Lossless (PS3.5 annex G). */

import { damaged } from "../errors";

/** Decode a frame to little-endian samples, plane after plane. */
export function decodeRle(
  frame: Uint8Array,
  { pixels, samples, bytes }: { pixels: number; samples: number; bytes: number },
): Uint8Array {
  if (frame.length < 64) throw damaged();
  const header = new DataView(frame.buffer, frame.byteOffset, 64);
  const segments = header.getUint32(0, true);
  if (segments !== samples * bytes) throw damaged();
  const out = new Uint8Array(pixels * samples * bytes);
  for (let segment = 0; segment < segments; segment++) {
    const start = header.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < segments ? header.getUint32(8 + 4 * segment, true) : frame.length;
    // the segments of a sample go from its highest byte to its lowest
    const place = bytes - 1 - (segment % bytes);
    const plane = Math.floor(segment / bytes) * pixels * bytes;
    unpack(frame.subarray(start, end), { out, at: plane + place, step: bytes, pixels });
  }
  return out;
}

/** PackBits; the rest of a segment that holds more than the picture is padding. */
function unpack(
  source: Uint8Array,
  { out, at, step, pixels }: { out: Uint8Array; at: number; step: number; pixels: number },
): void {
  let found = 0;
  let position = 0;
  while (position < source.length && found < pixels) {
    const control = source[position++]!;
    if (control === 128) continue;
    const repeated = control > 128;
    const count = Math.min(pixels - found, repeated ? 257 - control : control + 1);
    const available = repeated ? (position < source.length ? count : 0) : Math.min(count, source.length - position);
    for (let index = 0; index < available; index++, found++) {
      out[at + found * step] = source[repeated ? position : position + index]!;
    }
    position += repeated ? 1 : control + 1;
  }
  if (found < pixels) throw damaged();
}
