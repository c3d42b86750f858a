/**
 * Size, depth and end of a compressed picture inside DICOM, read before any decoder sees it.
 *
 * The same checks as `pocketcxr.imaging.dicom.codestream`, so that a file is taken or refused alike.
 */

const START_OF_SCAN = 0xda;

export interface Codestream {
  width: number;
  height: number;
  bits: number;
  samples: number;
}

/** Header of a JPEG, JPEG-LS or JPEG 2000 codestream; null where it is none of them. */
export function readCodestream(data: Uint8Array): Codestream | null {
  const at = jpeg2000At(data);
  if (at >= 0) return readJpeg2000(data, at);
  return data[0] === 0xff && data[1] === 0xd8 ? readJpeg(data) : null;
}

/** Where a JPEG 2000 codestream begins; also inside a JP2 container, which DICOM forbids and some archives write. */
export function jpeg2000At(data: Uint8Array): number {
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
  return { width: right - left, height: bottom - top, bits: (depth & 0x7f) + 1, samples: view.getUint16(at + 40) };
}

/** Whether the samples of a JPEG 2000 codestream are signed. */
export function jpeg2000Signed(data: Uint8Array): boolean {
  return (data[jpeg2000At(data) + 42]! & 0x80) !== 0;
}

/** Follow the segments to the first scan; null where the chain breaks. */
function readJpeg(data: Uint8Array): Codestream | null {
  const view = viewOf(data);
  let found: Codestream | null = null;
  for (let position = 2; position + 10 <= data.length && data[position] === 0xff; ) {
    const marker = data[position + 1]!;
    if (marker === START_OF_SCAN) return found;
    if (isStartOfFrame(marker)) {
      if (position + 10 > data.length) return null;
      found = {
        bits: view.getUint8(position + 4),
        height: view.getUint16(position + 5),
        width: view.getUint16(position + 7),
        samples: view.getUint8(position + 9),
      };
    } else if (!isHeaderSegment(marker) || odd(data.subarray(position + 4, position + 16))) {
      return null;
    }
    position += 2 + view.getUint16(position + 2);
  }
  return null;
}

/** ITU-T T.81 table B.1; T.87 for F7. */
function isStartOfFrame(marker: number): boolean {
  return marker === 0xf7 || (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker));
}

/** Tables, restart interval, JPEG-LS parameters, application data, comment. */
function isHeaderSegment(marker: number): boolean {
  return [0xc4, 0xcc, 0xdb, 0xdd, 0xf8, 0xfe].includes(marker) || (marker >= 0xe0 && marker <= 0xef);
}

/** A JFIF version other than 1, or an Adobe colour transform that one or three samples cannot have. */
function odd(content: Uint8Array): boolean {
  const text = String.fromCharCode(...content);
  if (text.startsWith("JFIF\0")) return content[5] !== 1;
  return text.startsWith("Adobe") && content[11] !== 0 && content[11] !== 1;
}

/** Whether the codestream closes with its end mark; some writers pad with FF instead of 00. */
export function hasEnd(data: Uint8Array): boolean {
  let end = data.length;
  const start = Math.max(0, end - 64);
  while (end > start && (data[end - 1] === 0 || data[end - 1] === 0xff)) end--;
  return end - 2 >= start && data[end - 2] === 0xff && data[end - 1] === 0xd9;
}
