/** Elements of a DICOM data set (PS3.5 section 7), read as pydicom reads them, also where they are damaged. */

import { damaged } from "../errors";
import { latin, VALUE_REPRESENTATIONS } from "../file-type";
import { dictionaryVr } from "./tags";

export const UNDEFINED_LENGTH = 0xffffffff;
const ITEM = 0xfffee000;
const ITEM_END = 0xfffee00d;
const SEQUENCE_END = 0xfffee0dd;
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);

export interface Encoding {
  implicit: boolean;
  little: boolean;
}

/** One element; `value` may be shorter than the file says it is. Sequences of undefined length have `items`. */
export interface Element {
  tag: number;
  vr: string | undefined;
  value: Uint8Array;
  undefinedLength: boolean;
  items?: Elements[];
  encoding: Encoding;
}

export interface Elements {
  map: Map<number, Element>;
  encoding: Encoding;
}

/** End of the data where more is needed: pydicom drops what it has read of this data set. */
class EndOfFile extends Error {}

export class ElementReader {
  readonly #view: DataView;
  position: number;

  constructor(
    readonly data: Uint8Array,
    start: number,
  ) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.position = start;
  }

  get left(): number {
    return this.data.length - this.position;
  }

  /** Read elements until the data, `length` bytes or the item end, or until `stop` says that the next is not wanted. */
  dataset(
    assumed: Encoding,
    options: { length?: number; stop?: (tag: number) => boolean; nested?: boolean } = {},
  ): Elements {
    const encoding = { ...assumed, implicit: this.#isImplicit(assumed, options.nested ?? false) };
    const map = new Map<number, Element>();
    const start = this.position;
    try {
      while (options.length === undefined || this.position - start < options.length) {
        const element = this.#element(encoding, options.stop);
        if (!element) break;
        map.set(element.tag, element);
      }
    } catch (error) {
      if (!(error instanceof EndOfFile)) throw error;
      if (options.length === undefined) map.clear();
    }
    return { map, encoding };
  }

  /** Items of a sequence. */
  sequence(encoding: Encoding, length: number): Elements[] {
    const items: Elements[] = [];
    const start = this.position;
    while (length === UNDEFINED_LENGTH || this.position - start < length) {
      if (this.left < 8) throw damaged();
      const tag = this.#tag(this.position, encoding.little);
      const size = this.#view.getUint32(this.position + 4, encoding.little);
      this.position += 8;
      if (tag === SEQUENCE_END) break;
      items.push(this.dataset(encoding, { nested: true, ...(size === UNDEFINED_LENGTH ? {} : { length: size }) }));
    }
    return items;
  }

  #tag(at: number, little: boolean): number {
    return this.#view.getUint16(at, little) * 0x10000 + this.#view.getUint16(at + 2, little);
  }

  /** Some writers mix the encodings up: the first value representation tells. */
  #isImplicit(assumed: Encoding, nested: boolean): boolean {
    if ((nested && assumed.implicit) || this.left < 6) return assumed.implicit;
    const [first, second] = [this.data[this.position + 4]!, this.data[this.position + 5]!];
    return !(first > 0x40 && first < 0x5b && second > 0x40 && second < 0x5b);
  }

  #element(encoding: Encoding, stop?: (tag: number) => boolean): Element | null {
    if (this.left < 8) {
      this.position = this.data.length;
      return null;
    }
    const begin = this.position;
    const tag = this.#tag(begin, encoding.little);
    let vr: string | undefined;
    let length = this.#view.getUint32(begin + 4, encoding.little);
    this.position += 8;
    if (!encoding.implicit) {
      const stated = latin(this.data, begin + 4, begin + 6);
      if (VALUE_REPRESENTATIONS.has(stated)) {
        vr = stated;
        length = this.#view.getUint16(begin + 6, encoding.little);
        if (LONG.has(stated)) {
          if (this.left < 4) throw damaged();
          length = this.#view.getUint32(this.position, encoding.little);
          this.position += 4;
        }
      } else if (stated >= "AA" && stated <= "ZZ") {
        vr = stated;
        length = this.#view.getUint16(begin + 6, encoding.little);
      }
    }
    if (tag === ITEM_END) return null;
    if (stop?.(tag)) {
      this.position = begin;
      return null;
    }
    const element: Element = { tag, vr, value: new Uint8Array(), undefinedLength: false, encoding };
    if (length !== UNDEFINED_LENGTH) {
      const end = Math.min(this.data.length, this.position + length);
      element.value = this.data.subarray(this.position, end);
      this.position = end;
      return element;
    }
    element.undefinedLength = true;
    if (this.#isSequence(element, encoding)) element.items = this.sequence(encoding, length);
    else element.value = this.#encapsulated(encoding.little);
    return element;
  }

  #isSequence({ tag, vr }: Element, { little }: Encoding): boolean {
    if (vr && vr !== "UN") return vr === "SQ";
    if (vr === "UN") return true;
    const known = dictionaryVr(tag);
    if (known) return known === "SQ";
    return this.left >= 4 && this.#tag(this.position, little) === ITEM;
  }

  /** A value of undefined length up to its delimiter, which is passed over. */
  #encapsulated(little: boolean): Uint8Array {
    const start = this.position;
    for (let at = start; at + 8 <= this.data.length; ) {
      const tag = this.#tag(at, little);
      if (tag === SEQUENCE_END) {
        this.position = at + 8;
        return this.data.subarray(start, at);
      }
      if (tag !== ITEM) break;
      at += 8 + this.#view.getUint32(at + 4, little);
    }
    // not laid out as items: search for the delimiter, as was done historically
    for (let at = start; at + 4 <= this.data.length; at++) {
      if (this.#tag(at, little) !== SEQUENCE_END) continue;
      this.position = Math.min(this.data.length, at + 8);
      return this.data.subarray(start, at);
    }
    throw new EndOfFile();
  }
}

/** The first frame of encapsulated pixel data (PS3.5 annex A.4); the file has only one. */
export function firstFrame(value: Uint8Array, little: boolean): Uint8Array {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const fragments: Uint8Array[] = [];
  let table = 0;
  for (let at = 0; at + 4 <= value.length; ) {
    const tag = view.getUint16(at, little) * 0x10000 + view.getUint16(at + 2, little);
    if (tag === SEQUENCE_END) break;
    if (tag !== ITEM || at + 8 > value.length) throw damaged();
    const length = view.getUint32(at + 4, little);
    if (length === UNDEFINED_LENGTH) throw damaged();
    if (at === 0) table = length;
    else fragments.push(value.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  if (value.length < 8 || table % 4 || !fragments.length) throw damaged();
  if (fragments.length === 1) return fragments[0]!;
  const frame = new Uint8Array(fragments.reduce((sum, fragment) => sum + fragment.length, 0));
  let to = 0;
  for (const fragment of fragments) {
    frame.set(fragment, to);
    to += fragment.length;
  }
  return frame;
}
