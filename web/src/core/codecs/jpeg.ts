/**
 * JPEG, decoded by libjpeg-turbo in WebAssembly: the same pixels in every browser, and those of Pillow.
 *
 * A browser's own decoder applies colour profiles and hides truncation, and some browsers add noise to what a canvas
 * gives back. What Pillow refuses while it walks the segments is refused here, too.
 */

import { forgetAfterTrap, loadCodec } from "./wasm";
import { damaged } from "../errors";
import { latin } from "../file-type";

export interface Jpeg {
  width: number;
  height: number;
  channels: 1 | 3;
  samples: Uint8Array; // [height, width, channels], grey or red, green, blue
}

export interface JpegHeader {
  width: number;
  height: number;
  components: number;
  scan: number; // where the first scan's marker stands
  progressive: boolean;
  restarts: boolean; // whether the scan has marks at which a decoder finds its way again
  exif: Uint8Array | null;
  xmp: string;
  segments: Uint8Array[]; // what decides about pixels
}

const EXIF = "Exif\0\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0";

/** Follow the segments to the first scan as Pillow does, which passes over much that is odd. */
export function readJpegHeader(data: Uint8Array): JpegHeader {
  const header: JpegHeader = {
    width: 0, height: 0, components: 0, scan: 0, progressive: false, restarts: false, exif: null, xmp: "",
    segments: [],
  };
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let position = 2; ; ) {
    position = data.indexOf(0xff, position); // stray bytes are passed over
    if (position < 0 || position + 1 >= data.length) {
      throw damaged();
    }
    const marker = data[position + 1]!;
    if (marker === 0xff) {
      position += 1; // a fill byte
    } else if (marker === 0) {
      position += 2;
    } else if (marker < 0xc0) {
      throw damaged();
    } else if (withoutLength(marker)) {
      position += 2;
    } else {
      if (position + 4 > data.length) throw damaged();
      const end = position + 2 + view.getUint16(position + 2);
      if (end > data.length) throw damaged();
      readSegment(header, marker, data.subarray(position + 4, end));
      if (marker === 0xda) {
        if (!header.width || !header.height) throw damaged();
        header.scan = position;
        return header;
      }
      if (decides(marker)) header.segments.push(data.subarray(position, end));
      position = end;
    }
  }
}

/** Restart, start and end marks, and reserved ones. */
function withoutLength(marker: number): boolean {
  return marker === 0xc8 || (marker >= 0xd0 && marker <= 0xd9) || (marker >= 0xf0 && marker <= 0xfd);
}

/** Whether a segment before the scan is about pixels: tables, frame, restart interval, JFIF and Adobe. */
function decides(marker: number): boolean {
  return marker < 0xe0 || marker === 0xe0 || marker === 0xee;
}

function readSegment(header: JpegHeader, marker: number, content: Uint8Array): void {
  if (isStartOfFrame(marker)) {
    readFrame(header, content);
    header.progressive = marker === 0xc2;
  } else if (marker === 0xdd) {
    header.restarts = content.some((byte) => byte !== 0);
  } else if (marker === 0xdb) {
    for (let at = 0; at < content.length; at += 1 + 64 * (content[at]! < 16 ? 1 : 2)) {
      const length = 1 + 64 * (content[at]! < 16 ? 1 : 2);
      if (at + length > content.length) throw damaged();
    }
  } else if (marker === 0xe1) {
    if (latin(content, 0, EXIF.length) === EXIF) header.exif ??= content.subarray(EXIF.length);
    if (latin(content, 0, XMP.length) === XMP) {
      header.xmp ||= new TextDecoder().decode(content.subarray(XMP.length));
    }
  }
}

function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker); // ITU-T T.81 table B.1
}

function readFrame(header: JpegHeader, content: Uint8Array): void {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  if (content.length < 6) throw damaged();
  const bits = view.getUint8(0);
  if (bits !== 8) throw damaged();
  [header.height, header.width, header.components] = [view.getUint16(1), view.getUint16(3), view.getUint8(5)];
  if (![1, 3, 4].includes(header.components)) throw damaged();
}

/** Decode a whole file. */
export async function decodeJpeg(data: Uint8Array, header: JpegHeader): Promise<Jpeg> {
  const end = endOfPicture(data, header);
  const plain = stripped(data, header);
  const decoded = end === "broken" ? null : await decodeBaseline(plain);
  if (!decoded) throw damaged();
  if (end === "missing" && (header.progressive || !(await isComplete(plain)))) {
    throw damaged();
  }
  return decoded;
}

/** The file without stray bytes and remarks: this build of libjpeg-turbo gives up where it should only warn of them. */
function stripped(data: Uint8Array, header: JpegHeader): Uint8Array {
  const parts = [data.subarray(0, 2), ...header.segments, data.subarray(header.scan)];
  const plain = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    plain.set(part, at);
    at += part.length;
  }
  return plain;
}

/** Whether all of the picture is there, and only the end mark is missing: then what follows it changes nothing. */
async function isComplete(data: Uint8Array): Promise<boolean> {
  const [first, second] = [await decodeBaseline(followed(data, 0x00)), await decodeBaseline(followed(data, 0x5a))];
  return !!first && !!second && first.samples.every((sample, at) => sample === second.samples[at]);
}

function followed(data: Uint8Array, byte: number): Uint8Array {
  const longer = new Uint8Array(data.length + 66).fill(byte);
  longer.set(data);
  longer.set([0xff, 0xd9], data.length + 64);
  return longer;
}

/** libjpeg-turbo; null where it gives up. Warnings, such as bytes too many, do not stop it, and do not stop Pillow. */
async function decodeBaseline(data: Uint8Array): Promise<Jpeg | null> {
  const codec = await loadCodec("jpeg");
  const decoder = new codec.JPEGDecoder();
  let trapped = false;
  try {
    decoder.getEncodedBuffer(data.length).set(data);
    const sound = attempt(() => decoder.decode());
    const { width, height, componentCount } = decoder.getFrameInfo();
    const channels = componentCount === 1 ? 1 : 3;
    const samples = (decoder.getDecodedBuffer() as Uint8Array).slice();
    if (width < 1 || samples.length !== width * height * channels) return null;
    // it throws for warnings, too; where it gave up, at a table that is missing or wrong, nothing was drawn
    if (!sound && samples.every((sample) => sample === 0)) return null;
    return { width, height, channels, samples };
  } catch (error) {
    trapped = forgetAfterTrap("jpeg", error);
    throw error;
  } finally {
    if (!trapped) decoder.delete();
  }
}

/** Whether a decoder did without throwing; what it throws itself is a number, and a trap goes on. */
function attempt(decode: () => void): boolean {
  try {
    decode();
    return true;
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw error;
    return false;
  }
}

/** Walk the scans to the end mark, as strictly as libjpeg. */
function endOfPicture(data: Uint8Array, header: JpegHeader): "found" | "missing" | "broken" {
  const oneScan = !header.progressive && data[header.scan + 4] === header.components;
  const after = (at: number): number => at + 2 + (data[at + 2] ?? 0) * 256 + (data[at + 3] ?? 0);
  for (let position = data.indexOf(0xff, after(header.scan)); position >= 0 && position + 1 < data.length; ) {
    const marker = data[position + 1]!;
    if (marker === 0xd9) return "found";
    if (marker === 0xff) position += 1;
    else if (marker <= 1 || (marker >= 0xd0 && marker <= 0xd7)) position = data.indexOf(0xff, position + 2);
    else if (marker < 0xc0 && header.restarts) position = data.indexOf(0xff, position + 2);
    else if (isSegment(marker) || (marker === 0xda && !oneScan)) position = data.indexOf(0xff, after(position));
    else return "broken";
  }
  return "missing";
}

/** Tables, restart interval, number of lines, application data, comment: what may stand between scans. */
function isSegment(marker: number): boolean {
  return [0xc4, 0xcc, 0xdb, 0xdc, 0xdd, 0xfe].includes(marker) || (marker >= 0xe0 && marker <= 0xef);
}
