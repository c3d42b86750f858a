/**
 * DICOM's grey-scale chain: stored values -> modality -> values of interest -> presentation (Python:
 * `imaging.dicom.grey_scale`, which cites the standard for each step).
 *
 * Stored values have 16 bits at most, so the chain runs once over a table of every possible value, in double precision,
 * and each pixel is one look-up.
 */

import { damaged, InputError } from "../errors";
import type { Window } from "../radiograph";
import type { Dataset } from "./dataset";
import { knownTerm } from "./header-terms";
import type { Keyword } from "./tags";

export type Stored = Uint8Array | Int8Array | Uint16Array | Int16Array;

/** The table of a stage: one number per possible stored value, lowest first. */
type Table = Float64Array;

interface Interest {
  table: Table;
  window: { centre: number; width: number };
  notes: string[];
}

export interface GreyScale {
  pixels: Float32Array;
  values: Float32Array; // after the modality stage
  window: Window;
  notes: string[];
}

export function applyGreyScale(stored: Stored, dataset: Dataset): GreyScale {
  const bits = dataset.need("BitsStored");
  const lowest = dataset.need("PixelRepresentation") ? -(2 ** (bits - 1)) : 0;
  const count = 2 ** bits;
  for (let at = 0; at < stored.length; at++) {
    if (stored[at]! < lowest || stored[at]! >= lowest + count) throw new InputError("values-exceed-bits", `BitsStored ${bits}`);
  }
  const possible = Float64Array.from({ length: count }, (_, index) => lowest + index);
  const padding = paddingOf(possible, dataset);
  const inverted = invertedOf(dataset);
  const modality = modalityOf(possible, dataset);
  const used = (): Uint8Array => usedOf(stored, lowest, padding);
  const interest = valuesOfInterest(modality.table, used, dataset);
  const notes = [...modality.notes, ...interest.notes];
  const { table } = interest;
  if (inverted) {
    for (let index = 0; index < count; index++) table[index] = 1 - table[index]!;
    notes.push("MONOCHROME1 inverted");
  }
  if (padding.includes(1)) {
    // black, after the inversion: padding is no part of the patient
    for (let index = 0; index < count; index++) if (padding[index]) table[index] = 0;
    notes.push("pixel padding drawn black");
  }
  return {
    pixels: lookedUp(stored, lowest, table),
    values: lookedUp(stored, lowest, modality.table),
    window: { ...interest.window, inverted },
    notes,
  };
}

function lookedUp(stored: Stored, lowest: number, table: Table): Float32Array {
  const single = Float32Array.from(table);
  const found = new Float32Array(stored.length);
  for (let at = 0; at < stored.length; at++) found[at] = single[stored[at]! - lowest]!;
  return found;
}

/** Which of the possible values occur and are no padding. */
function usedOf(stored: Stored, lowest: number, padding: Uint8Array): Uint8Array {
  const used = new Uint8Array(padding.length);
  for (let at = 0; at < stored.length; at++) used[stored[at]! - lowest] = 1;
  for (let index = 0; index < used.length; index++) if (padding[index]) used[index] = 0;
  return used;
}

/** Values that pad the picture (C.7.5.1.1.2): one, or the range to PixelPaddingRangeLimit. */
function paddingOf(possible: Table, dataset: Dataset): Uint8Array {
  const padding = new Uint8Array(possible.length);
  const [first, last] = (["PixelPaddingValue", "PixelPaddingRangeLimit"] as const).map((key) => dataset.numbers(key));
  if (!first) return padding;
  const limits = [first, last ?? first].flat().sort((a, b) => a - b);
  if (limits.length !== 2 || !limits.every(Number.isInteger)) throw undefinedScale("PixelPaddingValue");
  possible.forEach((value, index) => {
    padding[index] = Number(value >= limits[0]! && value <= limits[1]!);
  });
  return padding;
}

function invertedOf(dataset: Dataset): boolean {
  const photometric = dataset.text("PhotometricInterpretation");
  const shape = dataset.text("PresentationLUTShape");
  if (!["", "IDENTITY", "INVERSE"].includes(shape)) {
    throw undefinedScale(`PresentationLUTShape ${knownTerm(shape)}`);
  }
  const inverted = photometric === "MONOCHROME1";
  if (shape && inverted !== (shape === "INVERSE")) {
    throw undefinedScale(`${photometric}, PresentationLUTShape ${shape}`);
  }
  return inverted;
}

function modalityOf(possible: Table, dataset: Dataset): { table: Table; notes: string[] } {
  const item = dataset.items("ModalityLUTSequence")[0];
  if (item) return { table: lookUp(possible, item).table, notes: ["modality LUT"] };
  const [slope, intercept] = [dataset.number("RescaleSlope"), dataset.number("RescaleIntercept")];
  if (slope === null && intercept === null) return { table: possible.slice(), notes: [] };
  if (slope === null || intercept === null) throw undefinedScale("RescaleSlope, RescaleIntercept");
  const table = possible.map((value) => value * slope + intercept);
  if (slope === 0 || !table.every(Number.isFinite)) {
    throw undefinedScale(`RescaleSlope ${slope}, RescaleIntercept ${intercept}`);
  }
  const plain = slope === 1 && intercept === 0;
  return { table, notes: plain ? [] : [`rescaled by ${short(slope)}, ${short(intercept)}`] };
}

/** The VOI stage, its output scaled to [0, 1]. */
function valuesOfInterest(values: Table, used: () => Uint8Array, dataset: Dataset): Interest {
  const luts = dataset.items("VOILUTSequence");
  if (luts.length) {
    const { table, bits, first, entries } = lookUp(values, luts[0]!);
    const largest = 2 ** bits - 1;
    return {
      table: table.map((value) => clip(value / largest)),
      window: { centre: first + (entries - 1) / 2, width: Math.max(1, entries - 1) },
      notes: [`VOI LUT 1 of ${luts.length}`],
    };
  }
  if (present(dataset, "WindowCenter") || present(dataset, "WindowWidth")) return windowed(values, dataset);
  if (dataset.need("BitsStored") === 8 && !dataset.has("ModalityLUTSequence")) {
    // C.11.2: no VOI stage means identity. Eight bits are ready for display, as in a PNG of the same picture.
    const [low, high] = range(values);
    return spread(values, low, high, "no window: whole 8-bit range");
  }
  const occurring = used();
  const [low, high] = range(values.filter((_, index) => occurring[index]));
  if (!(high > low)) throw undefinedScale(`WindowCenter -, ${low} = ${high}`);
  return spread(values, low, high, "no window: smallest to largest value");
}

function spread(values: Table, low: number, high: number, note: string): Interest {
  const table = values.map((value) => clip((value - low) / (high - low)));
  return { table, window: { centre: (low + high) / 2, width: high - low }, notes: [note] };
}

function present(dataset: Dataset, keyword: Keyword): boolean {
  return dataset.numbers(keyword) !== null;
}

function range(values: Table): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function clip(value: number): number {
  return value < 0 ? 0 : value > 1 ? 1 : value;
}

/** The first window, by the functions of C.11.2.1.2 and C.11.2.1.3. */
function windowed(values: Table, dataset: Dataset): Interest {
  const [centres, widths] = [dataset.numbers("WindowCenter") ?? [], dataset.numbers("WindowWidth") ?? []];
  const kind = dataset.text("VOILUTFunction") || "LINEAR";
  const [centre, width] = [centres[0], widths[0]];
  if (centre === undefined || width === undefined || centres.length !== widths.length || !finite(centre, width)) {
    throw undefinedScale("WindowCenter, WindowWidth");
  }
  if (width <= 0 || width < (kind === "LINEAR" ? 1 : 0)) throw undefinedScale(`WindowWidth ${width}`);
  const linear = kind === "LINEAR";
  const sigmoid = (value: number): number => {
    const power = Math.min(700, Math.max(-700, (-4 * (value - centre)) / width));
    return 1 / (1 + Math.exp(power));
  };
  const functions: Record<string, (value: number) => number> = {
    // a window of width 1 is a threshold; the limit spares the formula its division by zero
    LINEAR: (value) => (value - (centre - 0.5)) / Math.max(width - 1, 2 ** -511) + 0.5,
    LINEAR_EXACT: (value) => (value - centre) / width + 0.5,
    SIGMOID: sigmoid,
  };
  const shape = functions[kind];
  if (!shape) throw undefinedScale(`VOILUTFunction ${knownTerm(kind)}`);
  return {
    table: values.map((value) => clip(shape(value))),
    window: linear ? { centre: centre - 0.5, width: Math.max(width - 1, 1e-6) } : { centre, width },
    notes: [`window 1 of ${centres.length}: ${kind} ${short(centre)}/${short(width)}`],
  };
}

/** Six significant digits, as Python writes them in its notes. */
function short(value: number): string {
  return String(Number(value.toPrecision(6)));
}

function undefinedScale(detail: string): InputError {
  return new InputError("undefined-grey-scale", detail);
}

function finite(...numbers: number[]): boolean {
  return numbers.every(Number.isFinite);
}

/** Values through a LUT of C.11.1.1 or C.11.2.1.1, and the bits of its entries. */
function lookUp(
  values: Table,
  item: Dataset
): { table: Table; bits: number; first: number; entries: number } {
  const descriptor = item.numbers("LUTDescriptor");
  if (!descriptor) throw damaged();
  if (descriptor.length !== 3) throw damaged();
  const [stated, first, bits] = descriptor as [number, number, number];
  const entries = stated & 0xffff || 65536;
  const lut = lutOf(item, entries);
  if (lut.length < entries || bits < 1 || bits > 16) {
    throw undefinedScale(`LUTDescriptor ${entries}, LUTData ${lut.length}`);
  }
  // values before the first entry take the first one, values after the last one the last
  const table = values.map((value) => lut[Math.min(entries - 1, Math.max(0, roundedToEven(value) - first))]!);
  return { table, bits, first, entries };
}

function lutOf(item: Dataset, entries: number): ArrayLike<number> {
  const element = item.element("LUTData");
  if (!element) throw damaged();
  if (["US", "SS"].includes(item.vr("LUTData"))) return (item.numbers("LUTData") ?? []).map((value) => value & 0xffff);
  const raw = element.value;
  if (raw.length < 2 * entries) return raw;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Uint16Array.from({ length: raw.length >> 1 }, (_, index) => view.getUint16(2 * index, true));
}

function roundedToEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
