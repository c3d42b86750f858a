/** A parsed DICOM file: its elements as text and numbers, by keyword. */

import { damaged, InputError } from "../errors";
import { inflate, type Inflated } from "../codecs/inflate";
import { latin, VALUE_REPRESENTATIONS } from "../file-type";
import { findFragments, joinFrame } from "./fragments";
import { knownTerm } from "./header-terms";
import { ElementReader, UNDEFINED_LENGTH, type Element, type Elements, type Encoding } from "./stream";
import { dictionaryVr, TAGS, type Keyword } from "./tags";

const DEFLATED = "1.2.840.10008.1.2.1.99";
const HEADER_BYTES = 32 << 20; // more than any header, and more than follows the pixels
const LOOKED_AT_BEHIND = 1 << 20; // bytes behind the pixels of a deflated file
const FIRST_TAG = 0x00080000; // of a data set
const PIXEL_DATA = TAGS.PixelData[0];
const TEXT = new Set(["AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]);
const BINARY: Record<string, [number, keyof DataView & `get${string}`]> = {
  US: [2, "getUint16"], SS: [2, "getInt16"], UL: [4, "getUint32"], SL: [4, "getInt32"],
  FL: [4, "getFloat32"], FD: [8, "getFloat64"],
}; // prettier-ignore

// Defined terms of Specific Character Set (PS3.3 C.12.1.1.2) with one code page, as the browser names them
const CHARACTER_SETS: Record<string, string> = {
  "ISO_IR 101": "iso-8859-2", "ISO_IR 109": "iso-8859-3", "ISO_IR 110": "iso-8859-4", "ISO_IR 144": "iso-8859-5",
  "ISO_IR 127": "iso-8859-6", "ISO_IR 126": "iso-8859-7", "ISO_IR 138": "iso-8859-8", "ISO_IR 148": "iso-8859-9",
  "ISO_IR 166": "windows-874", "ISO_IR 13": "shift_jis", "ISO_IR 192": "utf-8", GB18030: "gb18030", GBK: "gbk",
}; // prettier-ignore

export class Dataset {
  readonly #elements: Elements;
  readonly #parent: Dataset | null;

  constructor(elements: Elements, parent: Dataset | null = null) {
    this.#elements = elements;
    this.#parent = parent;
  }

  get encoding(): Encoding {
    return this.#elements.encoding;
  }

  has(keyword: Keyword): boolean {
    return this.#elements.map.has(TAGS[keyword][0]);
  }

  element(keyword: Keyword): Element | undefined {
    return this.#elements.map.get(TAGS[keyword][0]);
  }

  /** Parts of a text, stripped, joined by a backslash; empty where it is absent. */
  text(keyword: Keyword): string {
    return (this.#values(keyword) ?? []).map((part) => String(part).trim()).join("\\");
  }

  /** Numbers of an element; null where it is absent or empty. What is no number is named. */
  numbers(keyword: Keyword): number[] | null {
    let numbers: number[] | undefined;
    try {
      numbers = this.#values(keyword)?.map(Number);
    } catch {
      numbers = [NaN];
    }
    if (!numbers?.length) return null;
    if (!numbers.every(Number.isFinite)) throw new InputError("undefined-grey-scale", this.#shown(keyword));
    return numbers;
  }

  /** The number of an element that has one; null where it is absent or empty. */
  number(keyword: Keyword): number | null {
    const numbers = this.numbers(keyword);
    if (!numbers) return null;
    if (numbers.length !== 1) throw new InputError("undefined-grey-scale", this.#shown(keyword));
    return numbers[0]!;
  }

  /** A whole number that says how the picture is stored; null where it is absent or empty. */
  whole(keyword: Keyword): number | null {
    let value: number | null = NaN;
    try {
      value = this.number(keyword);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
    if (value !== null && !Number.isInteger(value)) throw new InputError("unsupported-header", this.#shown(keyword));
    return value;
  }

  /** A number that `header` has found to be there. */
  need(keyword: Keyword): number {
    const value = this.number(keyword);
    if (value === null) throw damaged();
    return value;
  }

  /** An element that should hold a number, and what stands in it, where that can name nobody. */
  #shown(keyword: Keyword): string {
    const value = this.element(keyword)?.value ?? new Uint8Array();
    const text = latin(value, 0, Math.min(16, value.length)).replace(/^[\0 ]+|[\0 ]+$/g, "");
    return `${keyword} ${/^([0-9.,/\\e+ -]*|nan|-?inf(inity)?)$/i.test(text) ? text : knownTerm(text)}`;
  }

  items(keyword: Keyword): Dataset[] {
    const element = this.element(keyword);
    if (!element) return [];
    const { value, encoding } = element;
    const items = element.items ?? new ElementReader(value, 0).sequence(encoding, value.length);
    return items.map((item) => new Dataset(item, this));
  }

  /** Value representation: the file's, or the dictionary's where it is implicit or unknown. */
  vr(keyword: Keyword): string {
    const stated = this.element(keyword)?.vr;
    const vr = stated && stated !== "UN" ? stated : (dictionaryVr(TAGS[keyword][0]) ?? "UN");
    return vr === "US or SS" ? (this.#signed() ? "SS" : "US") : vr;
  }

  #signed(): boolean {
    if (this.has("PixelRepresentation")) return this.number("PixelRepresentation") === 1;
    return this.#parent ? this.#parent.#signed() : false;
  }

  #values(keyword: Keyword): (string | number)[] | null {
    const element = this.element(keyword);
    if (!element) return null;
    const vr = this.vr(keyword);
    const { value, encoding } = element;
    const binary = BINARY[vr];
    if (binary) {
      const [size, getter] = binary;
      if (value.length % size) throw damaged();
      const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
      const read = view[getter] as (at: number, little?: boolean) => number;
      return Array.from({ length: value.length / size }, (_, index) => read.call(view, index * size, encoding.little));
    }
    if (vr !== "DS" && vr !== "IS" && !TEXT.has(vr)) throw damaged();
    const text = this.#decoded(vr, value).replace(/[\0 ]+$/, "");
    if (!text) return null;
    const parts = text.split("\\").map((part) => part.replace(/[\0 ]+$/, ""));
    if (vr === "DS") return parts.map(pythonFloat);
    return vr === "IS" ? parts.map((part) => wholeNumber(pythonFloat(part))) : parts;
  }

  #decoded(vr: string, value: Uint8Array): string {
    let text = "";
    const page = vr === "CS" || vr === "UI" ? undefined : CHARACTER_SETS[this.#characterSet()];
    if (page) return new TextDecoder(page).decode(value);
    for (let at = 0; at < value.length; at += 4096) text += latin(value, at, Math.min(value.length, at + 4096));
    return text;
  }

  #characterSet(): string {
    const own = this.has("SpecificCharacterSet") ? this.text("SpecificCharacterSet").split("\\")[0] : undefined;
    return own ?? (this.#parent ? this.#parent.#characterSet() : "");
  }
}

/** `float(text)` of Python, without the underscores that it allows and decimal strings do not (PS3.5 6.2). */
export function pythonFloat(text: string): number {
  const plain = text.trim();
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain)) return Number(plain);
  const special = /^([+-]?)(inf|infinity|nan)$/i.exec(plain);
  if (!special) throw damaged();
  return special[2]!.toLowerCase() === "nan" ? NaN : special[1] === "-" ? -Infinity : Infinity;
}

function wholeNumber(value: number): number {
  if (!Number.isInteger(value)) throw damaged();
  return value;
}

/** The pixel data: `length` as stated, and `start` in `data`, the file or what has been inflated of it. */
export interface PixelElement {
  vr: string;
  length: number;
  start: number;
  little: boolean;
  data: Uint8Array;
  /** Inflates a deflated file up to so many bytes. */
  inflated?: (size: number) => Promise<Inflated>;
}

export interface DicomFile {
  dataset: Dataset;
  pixels: PixelElement | null;
  transferSyntax: string; // as stated; empty where the file has none
}

/** Parse a file (PS3.10), with or without its preamble and meta information, up to its pixel data. */
export async function parseDicom(data: Uint8Array): Promise<DicomFile> {
  const reader = new ElementReader(data, latin(data, 128, 132) === "DICM" ? 132 : 0);
  const explicit = { implicit: false, little: true };
  const meta = new Dataset(reader.dataset(explicit, { stop: (tag) => tag >>> 16 !== 2 }));
  reader.dataset({ implicit: true, little: true }, { stop: (tag) => tag > 0xffff }); // command set, group 0000
  const transferSyntax = meta.text("TransferSyntaxUID");
  if (transferSyntax !== DEFLATED) {
    return { ...dataSet(reader, encodingOf(reader, transferSyntax)), transferSyntax };
  }
  const rest = data.subarray(reader.position);
  const inflated = (size: number): Promise<Inflated> => inflate([rest], size, "raw");
  const head = (await inflated(HEADER_BYTES)).bytes;
  const full = head.length === HEADER_BYTES;
  try {
    const { dataset, pixels } = dataSet(new ElementReader(head, 0), explicit);
    if (pixels || !full) return { dataset, pixels: pixels && { ...pixels, inflated }, transferSyntax };
  } catch (error) {
    if (!full) throw error;
  }
  throw tooManyBytes(HEADER_BYTES);
}

function tooManyBytes(limit: number): InputError {
  return new InputError("too-many-bytes", `> ${limit}`);
}

function dataSet(reader: ElementReader, assumed: Encoding): { dataset: Dataset; pixels: PixelElement | null } {
  const { map, encoding } = reader.dataset(assumed, { stop: (tag) => tag === PIXEL_DATA });
  if (reader.left < 8) {
    if (reader.left || !map.size) throw damaged(); // ends early
    return { dataset: new Dataset({ map, encoding }), pixels: null };
  }
  const { vr, length, value } = reader.next(encoding);
  const pixels = { vr: vr ?? "OW", length, start: value, little: encoding.little, data: reader.data };
  reader.position =
    length === UNDEFINED_LENGTH ? findFragments(reader.data, value, encoding.little).end : value + length;
  const behind = behindThePixels(reader, encoding);
  return { dataset: new Dataset({ map: new Map([...behind, ...map]), encoding }), pixels };
}

/** Elements that a writer put behind the pixel data, where by the standard only padding and signatures stand. */
function behindThePixels(reader: ElementReader, encoding: Encoding): Elements["map"] {
  const map: Elements["map"] = new Map();
  try {
    reader.dataset(encoding, { into: map, stop: (tag) => tag < FIRST_TAG || tag >= PIXEL_DATA });
  } catch {
    // padding of any kind, which is no element
  }
  return map;
}

/**
 * Uncompressed pixel data of `expected` bytes.
 *
 * A deflated file is inflated as far as they need, and so much further as any sound one goes on behind them.
 */
export async function nativeBytes(pixels: PixelElement, expected: number): Promise<Uint8Array> {
  if (pixels.length === UNDEFINED_LENGTH) throw new InputError("header-mismatch");
  const limit = pixels.start + Math.min(pixels.length, 2 * expected) + HEADER_BYTES;
  const { bytes: data, fault } = (await pixels.inflated?.(limit + 1)) ?? { bytes: pixels.data, fault: false };
  const found = Math.min(pixels.length, data.length - pixels.start);
  if (found < expected) throw damaged();
  if (found >= 2 * expected) throw new InputError("several-frames", `${pixels.length} / ${expected}`);
  if (pixels.inflated && data.length > limit) throw tooManyBytes(limit);
  if (fault || (pixels.inflated && !isSoundBehind(data.subarray(pixels.start + pixels.length)))) throw damaged();
  return data.subarray(pixels.start, pixels.start + expected + 1);
}

/** Whether padding or an element follows: damage, which deflated data have no checksum for, makes more or fewer pixels. */
function isSoundBehind(behind: Uint8Array): boolean {
  return VALUE_REPRESENTATIONS.has(latin(behind, 4, 6)) || behind.subarray(0, LOOKED_AT_BEHIND).every((byte) => !byte);
}

/** The frame of compressed pixel data. */
export function compressedFrame({ data, start, length, little }: PixelElement): Uint8Array {
  return joinFrame(findFragments(length === UNDEFINED_LENGTH ? data : data.subarray(0, start + length), start, little));
}

function encodingOf(reader: ElementReader, transferSyntax: string): Encoding {
  if (transferSyntax) {
    const little = transferSyntax !== "1.2.840.10008.1.2.2";
    return { implicit: transferSyntax === "1.2.840.10008.1.2", little };
  }
  if (!reader.left) return { implicit: true, little: true };
  if (reader.left < 6) throw damaged();
  const { data, position } = reader;
  if (!VALUE_REPRESENTATIONS.has(latin(data, position + 4, position + 6))) return { implicit: true, little: true };
  // 0008 of big endian reads as 0800: works for groups up to 00FF, and big endian is retired
  return { implicit: false, little: data[position]! + data[position + 1]! * 256 < 1024 };
}
