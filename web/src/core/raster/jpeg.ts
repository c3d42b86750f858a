/**
 * JPEG, decoded by libjpeg-turbo in WebAssembly: the same pixels in every browser, and those of Pillow.
 *
 * A browser's own decoder applies colour profiles and hides truncation, and some browsers add noise to what a canvas
 * gives back. What Pillow refuses while it walks the segments is refused here in its words.
 */

import { loadCodec } from "../dicom/codecs";
import { unreadable } from "../failures";
import { latin } from "../signatures";

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
  exif: Uint8Array | null;
  xmp: string;
}

const EXIF = "Exif\0\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0";

/** Follow the segments to the first scan. */
export function readJpegHeader(data: Uint8Array, name: string): JpegHeader {
  const header: JpegHeader = { width: 0, height: 0, components: 0, scan: 0, progressive: false, exif: null, xmp: "" };
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let position = 2; ; ) {
    while (data[position] === 0xff && data[position + 1] === 0xff) position++; // fill bytes
    if (position + 4 > data.length) throw damaged(name, "Truncated File Read");
    if (data[position] !== 0xff) {
      position++; // stray bytes are passed over, as Pillow does
      continue;
    }
    const marker = data[position + 1]!;
    if (marker === 0 || marker === 0xd8 || (marker >= 0xd0 && marker <= 0xd7)) {
      position += 2;
      continue;
    }
    if (marker === 0xda) {
      if (!header.width || !header.height) throw damaged(name, "cannot identify the size before the first scan");
      header.scan = position;
      return header;
    }
    const end = position + 2 + view.getUint16(position + 2);
    if (end > data.length) throw damaged(name, "Truncated File Read");
    const content = data.subarray(position + 4, end);
    if (isStartOfFrame(marker)) {
      readFrame(header, content, name);
      header.progressive = marker === 0xc2;
    }
    if (marker === 0xe1 && latin(content, 0, EXIF.length) === EXIF) header.exif ??= content.subarray(EXIF.length);
    if (marker === 0xe1 && latin(content, 0, XMP.length) === XMP) {
      header.xmp ||= new TextDecoder().decode(content.subarray(XMP.length));
    }
    position = end;
  }
}

function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker); // ITU-T T.81 table B.1
}

function readFrame(header: JpegHeader, content: Uint8Array, name: string): void {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  if (content.length < 6) throw damaged(name, "Truncated File Read");
  const bits = view.getUint8(0);
  if (bits !== 8) throw damaged(name, `cannot handle ${bits}-bit layers`);
  [header.height, header.width, header.components] = [view.getUint16(1), view.getUint16(3), view.getUint8(5)];
  if (![1, 3, 4].includes(header.components)) throw damaged(name, `cannot handle ${header.components}-layer images`);
}

function damaged(name: string, words: string): Error {
  return unreadable(`${name}: the JPEG is damaged or ends early (${words}); copy or export it again`);
}

/** Decode a whole file. */
export async function decodeJpeg(data: Uint8Array, header: JpegHeader, name: string): Promise<Jpeg> {
  const end = endOfPicture(data, header);
  const decoded = end === "broken" ? null : await decodeBaseline(data);
  if (!decoded) throw damaged(name, "broken data stream when reading image file");
  if (end === "missing" && (header.progressive || !(await isComplete(data)))) {
    throw damaged(name, "image file is truncated");
  }
  return decoded;
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
export async function decodeBaseline(data: Uint8Array): Promise<Jpeg | null> {
  const codec = await loadCodec("jpeg");
  const decoder = new codec.JPEGDecoder();
  try {
    decoder.getEncodedBuffer(data.length).set(data);
    const sound = succeeds(() => decoder.decode());
    const { width, height, componentCount } = decoder.getFrameInfo();
    const channels = componentCount === 1 ? 1 : 3;
    const size = width * height * channels;
    if (width < 1 || decoder.getDecodedBuffer().length !== size) return null;
    if (!sound) {
      // thrown for warnings, too; only where the decoder gave up are the last rows left as they were
      decoder.getDecodedBuffer().fill(UNTOUCHED);
      succeeds(() => decoder.decode());
      const row = decoder.getDecodedBuffer().subarray(size - width * channels);
      if (row.every((sample) => sample === UNTOUCHED)) return null;
    }
    const samples = (decoder.getDecodedBuffer() as Uint8Array).slice();
    return { width, height, channels, samples };
  } finally {
    decoder.delete();
  }
}

const UNTOUCHED = 0xa5;

function succeeds(decode: () => void): boolean {
  try {
    decode();
    return true;
  } catch {
    return false;
  }
}

/** Walk the scans to the end mark, as strictly as libjpeg. */
function endOfPicture(data: Uint8Array, header: JpegHeader): "found" | "missing" | "broken" {
  const oneScan = !header.progressive && data[header.scan + 4] === header.components;
  const after = (position: number): number => position + 2 + (data[position + 2] ?? 0) * 256 + (data[position + 3] ?? 0);
  for (let position = data.indexOf(0xff, after(header.scan)); position >= 0 && position + 1 < data.length; ) {
    const marker = data[position + 1]!;
    if (marker === 0xd9) return "found";
    if (marker === 0xff) position += 1;
    else if (marker <= 1 || (marker >= 0xd0 && marker <= 0xd7)) position = data.indexOf(0xff, position + 2);
    else if (isSegment(marker) || (marker === 0xda && !oneScan)) position = data.indexOf(0xff, after(position));
    else return "broken";
  }
  return "missing";
}

/** Tables, restart interval, number of lines, application data, comment: what may stand between scans. */
function isSegment(marker: number): boolean {
  return [0xc4, 0xcc, 0xdb, 0xdc, 0xdd, 0xfe].includes(marker) || (marker >= 0xe0 && marker <= 0xef);
}
