/**
 * Decoders in WebAssembly, each fetched when a file first needs it.
 *
 * Builds of CharLS, OpenJPEG and libjpeg-turbo by the Cornerstone project (MIT; BSD; IJG and BSD).
 */

import { loaded } from "../errors";

interface FrameInfo {
  width: number;
  height: number;
  bitsPerSample: number;
  componentCount: number;
  isSigned: boolean;
}

interface WasmDecoder {
  getEncodedBuffer(length: number): Uint8Array;
  getDecodedBuffer(): Uint8Array | Uint8ClampedArray;
  getFrameInfo(): FrameInfo;
  decode(): void;
  delete(): void;
}

type DecoderClass = new () => WasmDecoder;

interface Codecs {
  jpeg: { JPEGDecoder: DecoderClass };
  "jpeg-ls": { JpegLSDecoder: DecoderClass };
  "jpeg-2000": { J2KDecoder: DecoderClass };
}

type Factory = (options: object) => Promise<unknown>;

/** Glue code and address of each WebAssembly module. */
const SOURCES: Record<keyof Codecs, () => Promise<[{ default: Factory }, { default: string }]>> = {
  jpeg: () =>
    Promise.all([
      import("@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs"),
      import("@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm?url"),
    ]),
  "jpeg-ls": () =>
    Promise.all([
      import("@cornerstonejs/codec-charls/decodewasmjs"),
      import("@cornerstonejs/codec-charls/decodewasm?url"),
    ]),
  "jpeg-2000": () =>
    Promise.all([
      import("@cornerstonejs/codec-openjpeg/decodewasmjs"),
      import("@cornerstonejs/codec-openjpeg/decodewasm?url"),
    ]),
};

const modules = new Map<keyof Codecs, Promise<unknown>>();

/** The module of a codec; a failed download is tried again at the next call. */
export async function loadCodec<Kind extends keyof Codecs>(kind: Kind): Promise<Codecs[Kind]> {
  const loading = modules.get(kind) ?? load(kind);
  modules.set(kind, loading);
  loading.catch(() => modules.delete(kind));
  return (await loaded(loading)) as Codecs[Kind];
}

async function load(kind: keyof Codecs): Promise<unknown> {
  const [glue, address] = await SOURCES[kind]();
  const silent = (): void => undefined; // decoders print remarks on damaged files
  return glue.default({ locateFile: () => address.default, print: silent, printErr: silent });
}

/** After a trap a module's memory is in no known state: the next file gets a new one. */
export function forgetAfterTrap(kind: keyof Codecs, error: unknown): boolean {
  const trapped = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  if (trapped) modules.delete(kind);
  return trapped;
}

/** Decode with CharLS or OpenJPEG; null where the decoder gives up. Samples of one pixel stand next to each other. */
export async function decodeWith(
  kind: "jpeg-ls" | "jpeg-2000",
  frame: Uint8Array,
): Promise<{ info: FrameInfo; bytes: Uint8Array } | null> {
  const Decoder = kind === "jpeg-ls" ? (await loadCodec(kind)).JpegLSDecoder : (await loadCodec(kind)).J2KDecoder;
  const decoder = new Decoder();
  let trapped = false;
  try {
    decoder.getEncodedBuffer(frame.length).set(frame);
    decoder.decode();
    const decoded = decoder.getDecodedBuffer();
    const bytes = new Uint8Array(decoded.buffer, decoded.byteOffset, decoded.byteLength).slice();
    return bytes.length ? { info: { ...infoOf(decoder) }, bytes } : null;
  } catch (error) {
    trapped = forgetAfterTrap(kind, error);
    return null;
  } finally {
    if (!trapped) decoder.delete();
  }
}

function infoOf(decoder: WasmDecoder): FrameInfo {
  const { width, height, bitsPerSample, componentCount, isSigned } = decoder.getFrameInfo();
  return { width, height, bitsPerSample, componentCount, isSigned };
}
