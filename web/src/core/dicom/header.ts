/** Checks a DICOM header: what only a guess could complete is refused (Python: `imaging.dicom.header`). */

import { damaged, InputError } from "../errors";
import { checkPixelCount } from "../radiograph";
import { type Codestream, readCodestream } from "../codecs/codestream";
import type { Dataset } from "./dataset";
import { knownTerm } from "./header-terms";
import { nameOf } from "./syntaxes";
import type { Keyword } from "./tags";

export const GREY = new Set(["MONOCHROME1", "MONOCHROME2"]);
const COLOURS = new Set(["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"]);
const FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"; // Digital X-Ray Image Storage - For Processing
const NEEDED: Keyword[] = ["Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel"];

export function checkHeader(dataset: Dataset): void {
  const missing: Keyword[] = NEEDED.filter((keyword) => dataset.whole(keyword) === null);
  if (!dataset.text("PhotometricInterpretation")) missing.push("PhotometricInterpretation");
  if (missing.length) throw new InputError("incomplete-header", missing.join(", "));
  checkPixelCount(dataset.need("Columns"), dataset.need("Rows"));
  const frames = dataset.whole("NumberOfFrames") || 1;
  if (frames !== 1) throw new InputError("several-frames", String(frames));
  checkSamples(dataset);
  if (dataset.text("SOPClassUID") === FOR_PROCESSING) throw new InputError("for-processing");
  if (dataset.has("SharedFunctionalGroupsSequence")) throw new InputError("enhanced-dicom");
}

function checkSamples(dataset: Dataset): void {
  const [allocated, stored] = [dataset.need("BitsAllocated"), dataset.need("BitsStored")];
  if ((allocated !== 8 && allocated !== 16) || stored < 1 || stored > allocated) {
    throw new InputError("unsupported-header", `BitsAllocated ${allocated}, BitsStored ${stored}`);
  }
  const high = dataset.whole("HighBit");
  if (high !== null && high !== stored - 1) {
    throw new InputError("unsupported-header", `HighBit ${high}, BitsStored ${stored}`);
  }
  const sign = dataset.need("PixelRepresentation");
  if (sign !== 0 && sign !== 1) throw new InputError("unsupported-header", `PixelRepresentation ${sign}`);
  const photometric = dataset.text("PhotometricInterpretation");
  const samples = dataset.need("SamplesPerPixel");
  if (!GREY.has(photometric) && !COLOURS.has(photometric) && photometric !== "PALETTE COLOR") {
    throw new InputError("unsupported-header", `PhotometricInterpretation ${knownTerm(photometric)}`);
  }
  const expected = COLOURS.has(photometric) ? 3 : 1;
  if (samples !== expected) {
    throw new InputError("unsupported-header", `${photometric}, SamplesPerPixel ${samples}`);
  }
}

/** Length of uncompressed pixel data in bytes, without the byte that pads an odd one. */
export function expectedLength(dataset: Dataset): number {
  const pixels = dataset.need("Rows") * dataset.need("Columns") * dataset.need("SamplesPerPixel");
  const length = pixels * (dataset.need("BitsAllocated") / 8);
  return dataset.text("PhotometricInterpretation") === "YBR_FULL_422" ? Math.floor(length / 3) * 2 : length;
}

/** Compare what the codestream says of itself with the header. */
export function checkCodestream(dataset: Dataset, frame: Uint8Array, syntax: string): Codestream {
  const found = readCodestream(frame);
  const [columns, rows] = [dataset.need("Columns"), dataset.need("Rows")];
  if (!found) throw new InputError("header-mismatch", nameOf(syntax));
  if (found.width !== columns || found.height !== rows) {
    throw new InputError("header-mismatch", `${found.width} x ${found.height}`);
  }
  const [allocated, samples] = [dataset.need("BitsAllocated"), dataset.need("SamplesPerPixel")];
  const fits =
    found.bits > 0 && found.bits <= allocated && (found.process === "jpeg-2000" || found.bits > 8 === allocated > 8);
  if (found.samples !== samples || !fits) {
    throw new InputError("header-mismatch", `${found.samples} x ${found.bits} bits`);
  }
  if (!found.ended && found.process !== "jpeg") throw damaged(); // that decoder tells whether all of the picture is there
  return found;
}
