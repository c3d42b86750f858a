/**
 * DICOM's grey-scale chain: stored values -> modality -> values of interest -> presentation (Python:
 * `imaging.dicom.grey_scale`, which cites the standard for each step).
 *
 * Stored values have 16 bits at most, so the chain runs once over a table of every possible value, in double precision,
 * and each pixel is one look-up.
 */

import { InputError } from "../errors";
import type { Window } from "../radiograph";
import type { Dataset } from "./dataset";
import { knownTerm } from "./header-terms";
import { findLookupTable, lookUp, readLookupTable } from "./lookup-tables";

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
  const [first, last] = (["PixelPaddingValue", "PixelPaddingRangeLimit"] as const).map((key) => dataset.number(key));
  if (first === null || first === undefined) return padding;
  const stated = [first, last ?? first];
  if (!stated.every(Number.isInteger)) throw undefinedScale("PixelPaddingValue");
  const limits = stated.map((value) => withSignOf(value, possible[0]!, possible.at(-1)!)).sort((a, b) => a - b);
  possible.forEach((value, index) => {
    padding[index] = Number(value >= limits[0]! && value <= limits[1]!);
  });
  return padding;
}

/** A 16-bit value as it was meant: writers put signed values under an unsigned representation, and the reverse. */
function withSignOf(value: number, low: number, high: number): number {
  const fits = (one: number): boolean => one >= low && one <= high;
  return fits(value) ? value : ([value - 65536, value + 65536].find(fits) ?? value);
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
  const lut = readLookupTable(dataset, "ModalityLUTSequence", possible);
  if (lut) return { table: lookUp(lut, possible), notes: ["modality LUT"] };
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
  const lut = readLookupTable(dataset, "VOILUTSequence", values);
  if (lut) {
    const largest = 2 ** lut.bits - 1;
    const { length } = lut.entries;
    const stated = lut.bits === lut.statedBits ? [] : [`its entries use ${lut.bits} bits, not ${lut.statedBits} as stated`];
    return {
      table: lookUp(lut, values).map((value) => clip(value / largest)),
      window: { centre: lut.first + (length - 1) / 2, width: Math.max(1, length - 1) },
      notes: [`VOI LUT ${lut.position} of ${lut.count}`, ...stated],
    };
  }
  const [centres, widths] = [dataset.numbers("WindowCenter") ?? [], dataset.numbers("WindowWidth") ?? []];
  if (centres.length || widths.length) return windowed(values, centres, widths, dataset);
  if (dataset.need("BitsStored") === 8 && !findLookupTable(dataset, "ModalityLUTSequence")) {
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
function windowed(values: Table, centres: number[], widths: number[], dataset: Dataset): Interest {
  const kind = dataset.text("VOILUTFunction") || "LINEAR";
  const [centre, width] = [centres[0], widths[0]];
  if (centre === undefined || width === undefined || centres.length !== widths.length) {
    throw undefinedScale(`WindowCenter ${centres.length}, WindowWidth ${widths.length}`);
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
