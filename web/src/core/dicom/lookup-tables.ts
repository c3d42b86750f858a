/** Look-up tables of the Modality and the VOI stage (Python: `imaging.dicom.lookup_tables`). */

import { InputError } from "../errors";
import type { Dataset } from "./dataset";

export interface LookupTable {
  entries: ArrayLike<number>;
  first: number;
  bits: number;
  statedBits: number;
  position: number;
  count: number;
}

type LutKeyword = "ModalityLUTSequence" | "VOILUTSequence";

/** Position and count of the first item of a sequence that holds anything: some writers leave empty ones. */
export function findLookupTable(
  dataset: Dataset,
  keyword: LutKeyword,
): { item: Dataset; position: number; count: number } | null {
  const items = dataset.items(keyword);
  const index = items.findIndex(
    (item) => item.element("LUTDescriptor")?.value.length || item.element("LUTData")?.value.length,
  );
  return index < 0 ? null : { item: items[index]!, position: index + 1, count: items.length };
}

/** The first LUT of a sequence that holds anything, for all possible input values; null where there is none. */
export function readLookupTable(dataset: Dataset, keyword: LutKeyword, values: Float64Array): LookupTable | null {
  const found = findLookupTable(dataset, keyword);
  if (!found) return null;
  const { item, position, count } = found;
  const descriptor = words(item, "LUTDescriptor");
  if (descriptor?.length !== 3) throw refused(keyword, `LUTDescriptor ${descriptor?.length ?? 0}`);
  const [stated, firstStated, statedBits] = descriptor as [number, number, number];
  const size = stated & 0xffff || 65536;
  const all = entriesOf(item, size);
  if (!all || all.length < size) throw refused(keyword, `${all?.length ?? 0} / ${size}`);
  const entries = all.slice(0, size);
  const first = firstOf(firstStated, size, values);
  return { entries, first, bits: bitsOf(entries, statedBits), statedBits, position, count };
}

/** Values before the first entry take the first one, values after the last one the last. */
export function lookUp({ entries, first }: LookupTable, values: Float64Array): Float64Array {
  const last = entries.length - 1;
  return values.map((value) => entries[Math.min(last, Math.max(0, roundedToEven(value) - first))]!);
}

function refused(keyword: string, detail: string): InputError {
  return new InputError("undefined-grey-scale", `${keyword}, ${detail}`);
}

/** Numbers of 16 bits, whatever the value representation; null where there is nothing. */
function words(item: Dataset, keyword: "LUTDescriptor" | "LUTData"): number[] | null {
  const element = item.element(keyword);
  if (!element?.value.length) return null;
  if (["US", "SS"].includes(item.vr(keyword)) && element.value.length % 2 === 0) return item.numbers(keyword);
  const { value, encoding } = element;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return Array.from({ length: value.length >> 1 }, (_, index) => view.getUint16(2 * index, encoding.little));
}

/** Entries of 16 bits, or of 8 bits of which a word holds two, the first in its low byte (C.11.1.1.1). */
function entriesOf(item: Dataset, size: number): Uint16Array | null {
  const found = words(item, "LUTData");
  if (!found) return null;
  const whole = Uint16Array.from(found, (word) => word & 0xffff);
  const raw = item.element("LUTData")!.value;
  const packed = found.flatMap((word) => [word & 0xff, (word >> 8) & 0xff]);
  if (raw.length % 2) packed.push(raw.at(-1)!);
  return whole.length >= size || packed.length < size ? whole : Uint16Array.from(packed);
}

/** The first input value with that sign with which the table covers more of the values that there may be. */
function firstOf(stated: number, size: number, values: Float64Array): number {
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const covered = (first: number): number => Math.max(-1, Math.min(high, first + size - 1) - Math.max(low, first));
  let best = stated;
  for (const other of [stated - 65536, stated + 65536]) if (covered(other) > covered(best)) best = other;
  return best;
}

/** Bits that the output fills: viewers go by the largest entry, because Agfa's and other systems state too many. */
function bitsOf(entries: Uint16Array, stated: number): number {
  const largest = entries.reduce((most, entry) => Math.max(most, entry), 0);
  if (largest < 1) return 1; // all of it is black
  const possible = [largest, largest - 1].map((value) => 32 - Math.clz32(value));
  return stated > 0 && possible.includes(stated) ? stated : possible[0]!;
}

function roundedToEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
