/** Stored values of a DICOM picture, from each transfer syntax that is read, as pydicom's decoders give them. */

import { damaged, InputError, loaded } from "../errors";
import { decodeJpeg } from "../codecs/jpeg";
import { followedByNoise, lacksRestarts, type Codestream } from "../codecs/codestream";
import { decodeWith } from "../codecs/wasm";
import { compressedFrame, type Dataset, nativeBytes, type PixelElement } from "./dataset";
import type { Stored } from "./grey-scale";
import { checkCodestream, expectedLength } from "./header";
import { decodeRle } from "../codecs/rle";
import { decoderOf, EXPLICIT_BIG, nameOf } from "./syntaxes";

/** `samples` [H, W] or [H, W, 3], and the photometric interpretation that they have now. */
export interface Decoded {
  samples: Stored;
  photometric: string;
}

export async function decodePixels(dataset: Dataset, pixels: PixelElement, syntax: string): Promise<Decoded> {
  const decoder = decoderOf(syntax);
  if (!decoder) throw new InputError("unsupported-compression", nameOf(syntax).slice(0, 64));
  if (decoder === "native") return native(dataset, pixels, syntax);
  const frame = compressedFrame(pixels);
  if (decoder === "rle") return finished(dataset, typed(dataset, decodeRle(frame, shapeOf(dataset))), true);
  const found = checkCodestream(dataset, frame, syntax);
  const { process, plain } = found;
  if (process === "jpeg" && found.bits > 8) throw new InputError("unsupported-compression", `JPEG, ${found.bits} bits`);
  if ((process === "jpeg-lossless" || process === "jpeg-ls") && found.samples !== 1) {
    throw new InputError("unsupported-colour", nameOf(syntax));
  }
  switch (process) {
    case "jpeg":
      return await jpeg(dataset, plain, syntax);
    case "jpeg-lossless":
      return { samples: await lossless(dataset, plain), photometric: photometricOf(dataset) };
    case "jpeg-ls":
      return { samples: await jpegLs(dataset, plain), photometric: photometricOf(dataset) };
    default:
      checkJpeg2000(found);
      if (/\.9[23]$/.test(syntax)) throw damaged(); // several components of a volume
      return await jpeg2000(dataset, found);
  }
}

/** This build of OpenJPEG makes zeros of what it does not give: such files are refused. */
function checkJpeg2000(found: Codestream): void {
  const signed = found.bits <= 8 && found.signed;
  if (!signed && (found.samples === 1 || found.bits <= 8)) return;
  throw new InputError("not-in-browser", `JPEG 2000, ${found.bits} bits`);
}

function photometricOf(dataset: Dataset): string {
  return dataset.text("PhotometricInterpretation");
}

function shapeOf(dataset: Dataset): { pixels: number; samples: number; bytes: number } {
  return {
    pixels: dataset.need("Rows") * dataset.need("Columns"),
    samples: dataset.need("SamplesPerPixel"),
    bytes: dataset.need("BitsAllocated") / 8,
  };
}

/** Little-endian bytes as numbers of the header's width and sign. */
function typed(dataset: Dataset, bytes: Uint8Array): Stored {
  const signed = dataset.need("PixelRepresentation") === 1;
  if (dataset.need("BitsAllocated") === 8) {
    return signed ? new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length) : bytes;
  }
  const aligned = bytes.byteOffset % 2 ? bytes.slice() : bytes;
  const length = aligned.length >> 1;
  return signed
    ? new Int16Array(aligned.buffer, aligned.byteOffset, length)
    : new Uint16Array(aligned.buffer, aligned.byteOffset, length);
}

async function native(dataset: Dataset, pixels: PixelElement, syntax: string): Promise<Decoded> {
  const length = expectedLength(dataset);
  const data = await nativeBytes(pixels, length);
  let bytes = data.subarray(0, length);
  const wide = dataset.need("BitsAllocated") === 16;
  const swapped = syntax === EXPLICIT_BIG && (wide || pixels.vr === "OW");
  if (swapped) bytes = swappedPairs(data.subarray(0, length + (length % 2))).subarray(0, length);
  if (photometricOf(dataset) === "YBR_FULL_422") bytes = expanded422(bytes);
  const samples = typed(dataset, bytes.slice());
  cutUnusedBits(samples, dataset.need("BitsAllocated") - dataset.need("BitsStored"));
  return finished(dataset, samples, dataset.number("PlanarConfiguration") === 1);
}

function swappedPairs(data: Uint8Array): Uint8Array {
  const swapped = new Uint8Array(data.length);
  for (let at = 0; at + 1 < data.length; at += 2) {
    swapped[at] = data[at + 1]!;
    swapped[at + 1] = data[at]!;
  }
  return swapped;
}

/** High bits may hold overlays: shift them out, and the sign back in. */
function cutUnusedBits(samples: Stored, unused: number): void {
  if (!unused) return;
  const above = 32 - 8 * samples.BYTES_PER_ELEMENT + unused;
  const signed = samples instanceof Int8Array || samples instanceof Int16Array;
  for (let at = 0; at < samples.length; at++) {
    const raised = samples[at]! << above;
    samples[at] = signed ? raised >> above : raised >>> above;
  }
}

/** PS3.3 C.7.6.3.1.2: Y1 Y2 B R becomes Y1 B R Y2 B R. */
function expanded422(data: Uint8Array): Uint8Array {
  const pairs = data.length >> 2;
  const out = new Uint8Array(pairs * 6);
  for (let pair = 0; pair < pairs; pair++) {
    const [first, second, blue, red] = data.subarray(4 * pair, 4 * pair + 4) as unknown as
      [number, number, number, number];
    out.set([first, blue, red, second, blue, red], 6 * pair);
  }
  return out;
}

/** Bring planes together and turn YBR into red, green, blue. */
function finished(dataset: Dataset, samples: Stored, planar: boolean): Decoded {
  const photometric = photometricOf(dataset);
  if (dataset.need("SamplesPerPixel") === 1) return { samples, photometric };
  return toRgb(planar ? interleaved(samples) : samples, photometric);
}

function interleaved(planes: Stored): Stored {
  const pixels = planes.length / 3;
  const out = planes.slice();
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let sample = 0; sample < 3; sample++) out[3 * pixel + sample] = planes[sample * pixels + pixel]!;
  }
  return out;
}

/** PS3.3 C.7.6.3.1.2 by the arithmetic of pydicom, whose offset is that of eight bits. */
function toRgb(samples: Stored, photometric: string): Decoded {
  if (photometric !== "YBR_FULL" && photometric !== "YBR_FULL_422") return { samples, photometric };
  const out = samples.slice();
  for (let at = 0; at + 2 < samples.length; at += 3) {
    const [y, blue, red] = [samples[at]!, samples[at + 1]! - 128, samples[at + 2]! - 128];
    out[at] = byte(y + 1.402 * red);
    out[at + 1] = byte(y - ((0.114 * 1.772) / 0.587) * blue - ((0.299 * 1.402) / 0.587) * red);
    out[at + 2] = byte(y + 1.772 * blue);
  }
  return { samples: out, photometric: "RGB" };
}

function byte(value: number): number {
  return Math.min(255, Math.max(0, Math.floor(value + 0.5)));
}

const ADOBE_AS_STORED = Uint8Array.from([
  0xff, 0xee, 0, 14, ...[..."Adobe"].map((letter) => letter.charCodeAt(0)), 0, 100, 0, 0, 0, 0, 0,
]); // transform 0: the decoder must not convert colours, because the DICOM header says what they are

async function jpeg(dataset: Dataset, frame: Uint8Array, syntax: string): Promise<Decoded> {
  if (syntax.endsWith(".51") && dataset.need("BitsStored") !== 8) throw damaged();
  const grey = dataset.need("SamplesPerPixel") === 1;
  const marked = adobe(frame);
  const data = grey || marked ? frame : asStored(frame);
  const decoded = await decodeJpeg(data);
  const samples = typed(dataset, decoded.samples);
  // such a codestream is always unsigned (PS3.5 table 8.2.1-1)
  if (grey && dataset.need("PixelRepresentation") === 1) checkReadAlike(samples, 8);
  return grey ? { samples, photometric: photometricOf(dataset) } : toRgb(samples, jpegColour(dataset, frame));
}

/** The frame with a mark that its colours are to stay as they are; a JFIF segment would say otherwise, and goes. */
function asStored(frame: Uint8Array): Uint8Array {
  const rest = frame.subarray(frame[3] === 0xe0 ? 4 + frame[4]! * 256 + frame[5]! : 2);
  const marked = new Uint8Array(2 + ADOBE_AS_STORED.length + rest.length);
  marked.set([0xff, 0xd8, ...ADOBE_AS_STORED]);
  marked.set(rest, 2 + ADOBE_AS_STORED.length);
  return marked;
}

/** Whether an Adobe segment stands before the first scan. */
function adobe(frame: Uint8Array): boolean {
  for (let at = 2; at + 8 < frame.length && frame[at] === 0xff && frame[at + 1] !== 0xda; ) {
    if (frame[at + 1] === 0xee && frame[at + 4] === 0x41) return true;
    at += 2 + frame[at + 2]! * 256 + frame[at + 3]!;
  }
  return false;
}

/** Where a JFIF segment contradicts the header it is believed: such colours are YBR. */
function jpegColour(dataset: Dataset, frame: Uint8Array): string {
  const photometric = photometricOf(dataset);
  const jfif = frame[2] === 0xff && frame[3] === 0xe0 && frame[6] === 0x4a && frame[7] === 0x46;
  return jfif && !photometric.includes("YBR") ? "YBR_FULL_422" : photometric;
}

async function lossless(dataset: Dataset, frame: Uint8Array): Promise<Stored> {
  const { pixels, bytes: wide } = shapeOf(dataset);
  const decoded = await decodeLossless(frame, wide);
  if (decoded.length !== pixels * wide) throw damaged();
  // the decoder fills in what is missing; whole data end where the picture does, and what follows them changes nothing
  const noisy = await decodeLossless(followedByNoise(frame), wide);
  if (lacksRestarts(frame, pixels) || decoded.some((value, at) => value !== noisy[at])) throw damaged();
  return typed(dataset, decoded);
}

async function decodeLossless(frame: Uint8Array, bytesPerSample: number): Promise<Uint8Array> {
  const { Decoder } = await loaded(import("jpeg-lossless-decoder-js"));
  const whole = frame.slice();
  try {
    const decoded = new Decoder().decode(whole.buffer, 0, whole.length, bytesPerSample);
    return new Uint8Array(decoded.buffer, decoded.byteOffset, decoded.byteLength);
  } catch {
    throw damaged();
  }
}

async function jpegLs(dataset: Dataset, frame: Uint8Array): Promise<Stored> {
  const decoded = await decodeWith("jpeg-ls", frame);
  const { pixels, bytes } = shapeOf(dataset);
  if (!decoded || decoded.bytes.length !== pixels * bytes) throw damaged();
  const samples = typed(dataset, decoded.bytes);
  // JPEG-LS does not know signs: they are shifted back in
  if (dataset.need("PixelRepresentation") === 1) cutUnusedBits(samples, 8 * bytes - decoded.info.bitsPerSample);
  return samples;
}

async function jpeg2000(dataset: Dataset, found: Codestream): Promise<Decoded> {
  const decoded = await decodeWith("jpeg-2000", found.plain);
  const { pixels, samples: perPixel, bytes } = shapeOf(dataset);
  if (!decoded) throw damaged();
  const precise = decoded.info.bitsPerSample > 8 ? 2 : 1;
  if (decoded.bytes.length !== pixels * perPixel * precise) throw damaged();
  const samples = typed(dataset, precise < bytes ? widened(decoded.bytes) : decoded.bytes);
  const signed = dataset.need("PixelRepresentation") === 1;
  if (found.signed !== signed) {
    cutUnusedBits(samples, 8 * bytes - decoded.info.bitsPerSample);
    checkReadAlike(samples, found.bits);
  }
  const photometric = photometricOf(dataset);
  if (perPixel === 1) return { samples, photometric };
  // the decoder has undone the codestream's own colour transform
  return toRgb(samples, ["YBR_ICT", "YBR_RCT"].includes(photometric) ? "RGB" : photometric);
}

/** Where header and codestream disagree on the sign, only what both show alike is taken. */
function checkReadAlike(samples: Stored, bits: number): void {
  const most = bits > 8 ? 2 ** (bits - 1) - 1 : -1; // eight bits may be shown over their whole range, which a sign moves
  if (samples.some((sample) => sample < 0 || sample > most)) {
    throw new InputError("undefined-grey-scale", "PixelRepresentation");
  }
}

/** Eight-bit samples where the header allocates sixteen. */
function widened(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(Uint16Array.from(bytes).buffer);
}
