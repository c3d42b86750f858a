/** Decodes a DICOM file to one grey-scale image (Python: `imaging.dicom.decoding`). */

import { toGrey } from "../colour";
import { InputError } from "../errors";
import type { Radiograph } from "../radiograph";
import { Dataset, parseDicom, type PixelElement } from "./dataset";
import { readMetadata, readSpacing } from "./metadata";
import { applyGreyScale, type GreyScale, type Stored } from "./grey-scale";
import { checkHeader, GREY } from "./header";
import { decodePixels } from "./pixels";
import { UNDEFINED_LENGTH } from "./stream";
import { EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, nameOf } from "./syntaxes";
import type { Keyword } from "./tags";

export async function readDicom(data: Uint8Array): Promise<Radiograph> {
  const { dataset, pixels, transferSyntax } = await parseDicom(data);
  if (!pixels) throw new InputError("no-pixel-data");
  checkHeader(dataset);
  const syntax = transferSyntax || transferSyntaxOf(dataset, pixels);
  const { samples, photometric } = await decodePixels(dataset, pixels, syntax);
  const grey = { colour: false, ...greyOf(samples, photometric, dataset) };
  const metadata = readMetadata(dataset, {
    width: dataset.need("Columns"),
    height: dataset.need("Rows"),
    colour: grey.colour,
    transferSyntax: nameOf(syntax),
    notes: grey.notes,
  });
  return { pixels: grey.pixels, values: grey.values, window: grey.window, spacing: readSpacing(dataset), metadata };
}

function greyOf(
  samples: Stored,
  photometric: string,
  dataset: Dataset
): GreyScale & { colour?: boolean } {
  if (GREY.has(photometric)) return applyGreyScale(samples, dataset);
  if (photometric === "PALETTE COLOR") {
    const { coloured, largest } = throughPalette(samples, dataset);
    return fromColours(coloured, largest, "palette read as grey");
  }
  return fromColours(samples, 2 ** dataset.need("BitsStored") - 1, "colour channels read as grey");
}

function fromColours(data: ArrayLike<number>, largest: number, note: string): GreyScale & { colour: boolean } {
  const { grey, colour } = toGrey({ data, stride: 3, count: data.length / 3 }, largest);
  const values = grey.map((value) => value * largest);
  const window = { centre: largest / 2, width: largest, inverted: false };
  return { pixels: grey, values, window, notes: [note], colour };
}

/** For files that state none: how their header turned out to be encoded. */
function transferSyntaxOf(dataset: Dataset, pixels: PixelElement): string {
  if (pixels.length === UNDEFINED_LENGTH) throw new InputError("no-transfer-syntax");
  const { implicit, little } = dataset.encoding;
  return implicit ? IMPLICIT_LITTLE : little ? EXPLICIT_LITTLE : EXPLICIT_BIG;
}

/** Red, green and blue of each pixel (PS3.3 C.7.6.3.1.5). */
function throughPalette(
  samples: Stored,
  dataset: Dataset
): { coloured: Uint16Array; largest: number } {
  if (dataset.has("SegmentedRedPaletteColorLookupTableData")) throw new InputError("not-in-browser");
  const descriptor = dataset.numbers("RedPaletteColorLookupTableDescriptor");
  if (descriptor?.length !== 3) throw withoutPalette();
  const [stated, first, bits] = descriptor as [number, number, number];
  const entries = stated & 0xffff || 65536;
  const channels: Keyword[] = [
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
  ];
  const tables = channels.map((keyword) => paletteTable(dataset, keyword, entries));
  const coloured = new Uint16Array(samples.length * 3);
  for (let pixel = 0; pixel < samples.length; pixel++) {
    const index = Math.min(entries - 1, Math.max(0, samples[pixel]! - first));
    for (let channel = 0; channel < 3; channel++) coloured[3 * pixel + channel] = tables[channel]![index]!;
  }
  return { coloured, largest: 2 ** bits - 1 };
}

function paletteTable(dataset: Dataset, keyword: Keyword, entries: number): Uint8Array | Uint16Array {
  const raw = dataset.element(keyword)?.value;
  if (!raw?.length) throw withoutPalette();
  if (Math.round((raw.length / entries) * 8) !== 16) return raw;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Uint16Array.from({ length: entries }, (_, index) => view.getUint16(2 * index, true));
}

function withoutPalette(): InputError {
  return new InputError("undefined-grey-scale", "PALETTE COLOR");
}
