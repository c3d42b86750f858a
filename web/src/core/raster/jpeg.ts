/**
 * JPEG, decoded by libjpeg-turbo in WebAssembly: the same pixels in every browser, and those of Pillow.
 *
 * A browser's own decoder applies colour profiles and hides truncation, and some browsers add noise to what a canvas
 * gives back. What Pillow refuses while it walks the segments is refused here in its words.
 */

import { loadCodec } from "../dicom/codecs";
import { unreadable, unusable } from "../failures";
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
  exif: Uint8Array | null;
  xmp: string;
}

const EXIF = "Exif\0\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0";

/** Follow the segments to the first scan. */
export function readJpegHeader(data: Uint8Array, name: string): JpegHeader {
  const header: JpegHeader = { width: 0, height: 0, components: 0, exif: null, xmp: "" };
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
      return header;
    }
    const end = position + 2 + view.getUint16(position + 2);
    if (end > data.length) throw damaged(name, "Truncated File Read");
    const content = data.subarray(position + 4, end);
    if (isStartOfFrame(marker)) readFrame(header, content, name);
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
  const missing = endOfPicture(data);
  if (missing) throw damaged(name, missing);
  if (header.components === 4) throw unusable(`${name}: a JPEG of four inks is not read here; export it as grey`);
  const decoded = await decodeBaseline(data);
  if (!decoded) throw damaged(name, "broken data stream when reading image file");
  return decoded;
}

/** libjpeg-turbo; null where it gives up. Warnings, such as bytes too many, do not stop it, and do not stop Pillow. */
export async function decodeBaseline(data: Uint8Array): Promise<Jpeg | null> {
  const codec = await loadCodec("jpeg");
  const decoder = new codec.JPEGDecoder();
  try {
    decoder.getEncodedBuffer(data.length).set(data);
    try {
      decoder.decode();
    } catch {
      // thrown for warnings, too: then the picture is there
    }
    const { width, height, componentCount } = decoder.getFrameInfo();
    const channels = componentCount === 1 ? 1 : 3;
    const samples = decoder.getDecodedBuffer() as Uint8Array;
    if (width < 1 || samples.length !== width * height * channels) return null;
    return { width, height, channels, samples: samples.slice() };
  } finally {
    decoder.delete();
  }
}

/** Walk the scans to the end mark; in words what is wrong where there is none. */
function endOfPicture(data: Uint8Array): string {
  for (let position = data.indexOf(0xff, 2); position >= 0 && position + 1 < data.length; ) {
    const marker = data[position + 1]!;
    if (marker === 0xd9) return "";
    if (marker === 0xff) position += 1;
    else if (marker === 0 || (marker >= 0xd0 && marker <= 0xd8)) position = data.indexOf(0xff, position + 2);
    else position = data.indexOf(0xff, position + 2 + ((data[position + 2] ?? 0) << 8) + (data[position + 3] ?? 0));
  }
  return "image file is truncated";
}
