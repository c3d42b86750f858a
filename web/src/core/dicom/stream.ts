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

/** One element; sequences of undefined length have `items`. */
export interface Element {
  tag: number;
  vr: string | undefined;
  value: Uint8Array;
  items?: Elements[];
  encoding: Encoding;
}

export interface Elements {
  map: Map<number, Element>;
  encoding: Encoding;
}

/** Elements and items that a header may have; those of pictures have some hundreds. */
const MOST_ELEMENTS = 100_000;

export class ElementReader {
  readonly #view: DataView;
  position: number;
  #found = 0;

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
    options: { length?: number; stop?: (tag: number) => boolean; nested?: boolean; into?: Elements["map"] } = {},
  ): Elements {
    const encoding = { ...assumed, implicit: this.#isImplicit(assumed, options.nested ?? false) };
    const map = options.into ?? new Map<number, Element>();
    const start = this.position;
    while (options.length === undefined || this.position - start < options.length) {
      const element = this.#element(encoding, options);
      if (!element) break;
      map.set(element.tag, element);
    }
    return { map, encoding };
  }

  /** Items of a sequence. */
  sequence(encoding: Encoding, length: number): Elements[] {
    const items: Elements[] = [];
    const start = this.position;
    while (length === UNDEFINED_LENGTH || this.position - start < length) {
      if (this.left < 8) throw damaged();
      this.#count();
      const tag = this.#tag(this.position, encoding.little);
      const size = this.#view.getUint32(this.position + 4, encoding.little);
      this.position += 8;
      if (tag === SEQUENCE_END) break;
      items.push(this.dataset(encoding, { nested: true, ...(size === UNDEFINED_LENGTH ? {} : { length: size }) }));
    }
    return items;
  }

  /** Value representation, length and place of the value of the element that stands next. */
  next(encoding: Encoding): { tag: number; vr: string | undefined; length: number; value: number } {
    const begin = this.position;
    const tag = this.#tag(begin, encoding.little);
    const implicit = { tag, vr: undefined, length: this.#view.getUint32(begin + 4, encoding.little), value: begin + 8 };
    if (encoding.implicit) return implicit;
    const vr = latin(this.data, begin + 4, begin + 6);
    if (LONG.has(vr)) {
      if (this.left < 12) throw damaged();
      return { tag, vr, length: this.#view.getUint32(begin + 8, encoding.little), value: begin + 12 };
    }
    if (!VALUE_REPRESENTATIONS.has(vr) && !(vr >= "AA" && vr <= "ZZ")) return implicit;
    return { tag, vr, length: this.#view.getUint16(begin + 6, encoding.little), value: begin + 8 };
  }

  #count(): void {
    this.#found += 1;
    if (this.#found > MOST_ELEMENTS) throw damaged();
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

  #element(encoding: Encoding, options: { stop?: (tag: number) => boolean; nested?: boolean }): Element | null {
    if (this.left < 8) return null;
    this.#count();
    const { tag, vr, length, value } = this.next(encoding);
    if (tag === ITEM_END) {
      this.position = value;
      return null;
    }
    if (options.stop?.(tag)) return null;
    this.position = value;
    const element: Element = { tag, vr, value: new Uint8Array(), encoding };
    if (length !== UNDEFINED_LENGTH) {
      if (this.left < length && !options.nested) throw damaged(); // ends early
      const end = Math.min(this.data.length, this.position + length);
      element.value = this.data.subarray(this.position, end);
      this.position = end;
      return element;
    }
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
    throw damaged();
  }
}
