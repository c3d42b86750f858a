/**
 * JPEG, decoded by libjpeg-turbo in WebAssembly: the same pixels in every browser, and those of Pillow.
 *
 * A browser's own decoder applies colour profiles and hides truncation, and some browsers add noise to what a canvas
 * gives back. What Pillow refuses while it walks the segments is refused here, too, and every warning of damage.
 */

import { followJpeg, joinedJpeg, unpaddedJpeg } from "./jpeg-stream";
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
  exif: Uint8Array | null;
  xmp: string;
  comment: string;
}

const EXIF = "Exif\0\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0";

/** Follow the segments to the first scan as Pillow does, which passes over much that is odd. */
export function readJpegHeader(data: Uint8Array): JpegHeader {
  const header: JpegHeader = {
    width: 0, height: 0, components: 0, exif: null, xmp: "", comment: "",
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
        return header;
      }
      position = end;
    }
  }
}

/** Restart, start and end marks, and reserved ones. */
function withoutLength(marker: number): boolean {
  return marker === 0xc8 || (marker >= 0xd0 && marker <= 0xd9) || (marker >= 0xf0 && marker <= 0xfd);
}

function readSegment(header: JpegHeader, marker: number, content: Uint8Array): void {
  if (isStartOfFrame(marker)) {
    readFrame(header, content);
  } else if (marker === 0xdb) {
    for (let at = 0; at < content.length; at += 1 + 64 * (content[at]! < 16 ? 1 : 2)) {
      const length = 1 + 64 * (content[at]! < 16 ? 1 : 2);
      if (at + length > content.length) throw damaged();
    }
  } else if (marker === 0xfe) {
    header.comment ||= latin(content, 0, content.length);
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

/** Decode a whole file; damage that libjpeg-turbo only warns of, and fills in, is refused as well. */
export async function decodeJpeg(data: Uint8Array): Promise<Jpeg> {
  const segments = followJpeg(data);
  const decoded = (await decode(joinedJpeg(segments))) ?? (await decode(joinedJpeg(unpaddedJpeg(segments))));
  if (!decoded) throw damaged();
  return decoded;
}

/** libjpeg-turbo; null where it gives up or warns. */
async function decode(data: Uint8Array): Promise<Jpeg | null> {
  const codec = await loadCodec("jpeg");
  const decoder = new codec.JPEGDecoder();
  let trapped = false;
  try {
    decoder.getEncodedBuffer(data.length).set(data);
    if (!attempt(() => decoder.decode())) return null; // it throws for warnings, too
    const { width, height, componentCount } = decoder.getFrameInfo();
    const channels = componentCount === 1 ? 1 : 3;
    const samples = (decoder.getDecodedBuffer() as Uint8Array).slice();
    if (width < 1 || samples.length !== width * height * channels) return null;
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
