/** What of a DICOM header would have to be guessed, and is refused instead (Python: `imaging.dicom`). */

import { unreadable, unusable } from "../failures";
import { head, repr } from "../python-format";
import { checkPixelCount } from "../radiograph";
import { type Codestream, hasEnd, readCodestream } from "./codestream";
import type { Dataset } from "./dataset";
import { isJpeg2000, nameOf } from "./syntaxes";
import type { Keyword } from "./tags";
import { UID_NAMES } from "./uid-names";

export const GREY = new Set(["MONOCHROME1", "MONOCHROME2"]);
const COLOURS = new Set(["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"]);
const FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"; // Digital X-Ray Image Storage - For Processing
const NEEDED: Keyword[] = ["Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel"];

export function checkHeader(dataset: Dataset, name: string): void {
  const sopClass = dataset.text("SOPClassUID");
  if (!dataset.has("PixelData")) {
    const known = UID_NAMES[sopClass];
    const kind = known ? ` (${known})` : "";
    throw unusable(`${name}: expected a DICOM picture, found a file without pixel data${kind}`);
  }
  const missing: Keyword[] = NEEDED.filter((keyword) => dataset.number(keyword) === null);
  if (!dataset.text("PhotometricInterpretation")) missing.push("PhotometricInterpretation");
  if (missing.length) {
    throw unusable(`${name}: the DICOM header lacks ${missing.join(", ")}; send it again from the archive`);
  }
  checkPixelCount(dataset.need("Columns"), dataset.need("Rows"), name);
  const frames = dataset.number("NumberOfFrames") || 1;
  if (frames !== 1) throw unusable(`${name}: expected one picture, found ${frames} frames; export the one to score`);
  checkSamples(dataset, name);
  if (sopClass === FOR_PROCESSING) {
    throw unusable(
      `${name}: detector data 'for processing' has no defined grey scale; send the 'for presentation' picture`,
    );
  }
  if (dataset.has("SharedFunctionalGroupsSequence")) {
    throw unusable(`${name}: enhanced DICOM objects are not read; send the classic single-frame picture`);
  }
}

function checkSamples(dataset: Dataset, name: string): void {
  const [allocated, stored] = [dataset.need("BitsAllocated"), dataset.need("BitsStored")];
  if ((allocated !== 8 && allocated !== 16) || stored < 1 || stored > allocated) {
    throw unusable(
      `${name}: expected 8 or 16 bits allocated, found ${allocated} with ${stored} stored; export it again`,
    );
  }
  const high = dataset.number("HighBit");
  if (high !== null && high !== stored - 1) {
    throw unusable(`${name}: expected HighBit ${stored - 1}, found ${high}; export it again`);
  }
  const photometric = dataset.text("PhotometricInterpretation");
  const samples = dataset.need("SamplesPerPixel");
  if (!GREY.has(photometric) && !COLOURS.has(photometric) && photometric !== "PALETTE COLOR") {
    throw unusable(`${name}: PhotometricInterpretation ${repr(head(photometric, 16))} is not read`);
  }
  const expected = COLOURS.has(photometric) ? 3 : 1;
  if (samples !== expected) {
    throw unusable(`${name}: ${photometric} has ${expected} samples per pixel, the header says ${samples}`);
  }
}

/** Length of uncompressed pixel data in bytes, without the byte that pads an odd one. */
export function expectedLength(dataset: Dataset): number {
  const pixels = dataset.need("Rows") * dataset.need("Columns") * dataset.need("SamplesPerPixel");
  const length = pixels * (dataset.need("BitsAllocated") / 8);
  return dataset.text("PhotometricInterpretation") === "YBR_FULL_422" ? Math.floor(length / 3) * 2 : length;
}

export function checkNativeLength(dataset: Dataset, found: number, name: string): void {
  const expected = expectedLength(dataset);
  if (found < expected) {
    throw unreadable(`${name}: the pixel data ends early, ${expected - found} bytes short; send it again`);
  }
  if (found >= 2 * expected) {
    throw unusable(
      `${name}: the header gives one picture of ${expected} bytes, the pixel data has ${found}; export one picture`,
    );
  }
}

/** Compare what the codestream says of itself with the header. */
export function checkCodestream(dataset: Dataset, frame: Uint8Array, syntax: string, name: string): Codestream {
  const found = readCodestream(frame);
  const [columns, rows] = [dataset.need("Columns"), dataset.need("Rows")];
  if (!found) throw unreadable(`${name}: expected ${nameOf(syntax)}, found no such codestream; send it again`);
  if (found.width !== columns || found.height !== rows) {
    throw unreadable(
      `${name}: expected ${columns} x ${rows} pixels, found a codestream of ${found.width} x ${found.height}`,
    );
  }
  const [allocated, samples] = [dataset.need("BitsAllocated"), dataset.need("SamplesPerPixel")];
  const fits =
    found.bits > 0 && found.bits <= allocated && (isJpeg2000(syntax) || found.bits > 8 === allocated > 8);
  if (found.samples !== samples || !fits) {
    throw unreadable(
      `${name}: expected ${samples} samples of ${allocated} bits allocated, found a codestream of ${found.samples} ` +
        `with ${found.bits} bits; send it again`,
    );
  }
  if (!hasEnd(frame)) throw unreadable(`${name}: the compressed pixel data ends early; send it again`);
  return found;
}
