/** Reads an image's metadata from a DICOM header (Python: `imaging.dicom.metadata`). */

import { InputError } from "../errors";
import type { ImageMetadata } from "../radiograph";
import type { Picture } from "../types";
import type { Dataset } from "./dataset";
import type { Keyword } from "./tags";

// PS3.16 CID 4010 (DX View), SNOMED CT and the retired SRT codes; all others keep their meaning as text
const FRONTAL_VIEW_CODES: Record<string, string> = {
  "272479007": "PA", "R-10214": "PA", "399348003": "AP", "R-10206": "AP",
}; // prettier-ignore
// PS3.16 CID 4009 and 4030, current, former and SRT codes
const CHEST_CODES = new Set(["816094009", "51185008", "43799004", "T-D3000", "39607008", "T-28000"]);
// PS3.3 C.7.3.1.1.2: how the patient lies, and which side is down
const RECUMBENT_POSITIONS = new Set(
  "HFP HFS HFDR HFDL HFV FFDR FFDL FFP FFS FFV LFP LFS RFP RFS AFDR AFDL PFDR PFDL".split(" "),
);

export function readMetadata(
  dataset: Dataset,
  picture: { width: number; height: number; colour: boolean; transferSyntax: string; notes: string[] },
): ImageMetadata {
  return {
    format: "DICOM",
    bits: dataset.need("BitsStored"),
    modality: dataset.text("Modality"),
    bodyPart: bodyPart(dataset),
    view: view(dataset),
    orientation: dataset.text("PatientOrientation"),
    synthetic: dataset.text("SyntheticData") === "YES", // PS3.3 C.12.1, SOP Common
    ...picture,
  };
}

/** Value and meaning of the first code of a sequence. */
function code(dataset: Dataset, keyword: Keyword): [string, string] {
  const item = dataset.items(keyword)[0];
  return item ? [item.text("CodeValue"), item.text("CodeMeaning")] : ["", ""];
}

function bodyPart(dataset: Dataset): string {
  const [value, meaning] = code(dataset, "AnatomicRegionSequence");
  return dataset.text("BodyPartExamined") || (CHEST_CODES.has(value) ? "CHEST" : meaning);
}

/**
 * ViewPosition, the coded view, or a PatientPosition that is none.
 *
 * Several public sets write AP, PA or nonsense into PatientPosition, which is about lying patients; a value that the
 * standard does not know there is taken for what it was meant to be.
 */
function view(dataset: Dataset): string {
  const [value, meaning] = code(dataset, "ViewCodeSequence");
  const position = dataset.text("PatientPosition").toUpperCase();
  const stated = dataset.text("ViewPosition") || (FRONTAL_VIEW_CODES[value] ?? meaning);
  return stated || (RECUMBENT_POSITIONS.has(position) ? "" : position);
}

const LARGEST_SPACING_MM = 10; // no radiograph is so coarse

/**
 * How far apart the pixels are (PS3.3 10.7.1). Pixel Spacing counts as calibrated where the file says by what it was, or
 * where it differs from the spacing at the detector; alone, or a copy of that, it is not corrected for magnification.
 * Where either of the two cannot be, the image is read all the same, and no length is taken from the other.
 */
export function readSpacing(dataset: Dataset): Picture["spacing"] {
  const [pixel, detector] = [pairOf(dataset, "PixelSpacing"), pairOf(dataset, "ImagerPixelSpacing")];
  if (pixel === "damaged" || detector === "damaged") return "damaged";
  const [row, column] = pixel ?? detector ?? [];
  if (row === undefined || column === undefined) return null;
  const differs = pixel !== null && detector !== null && pixel.some((value, i) => value !== detector[i]);
  return { row, column, calibrated: pixel !== null && (differs || dataset.has("PixelSpacingCalibrationType")) };
}

function pairOf(dataset: Dataset, keyword: "PixelSpacing" | "ImagerPixelSpacing"): number[] | "damaged" | null {
  try {
    const pair = dataset.numbers(keyword);
    return pair === null || (pair.length === 2 && pair.every((value) => value > 0 && value < LARGEST_SPACING_MM)) ? pair : "damaged";
  } catch (error) {
    if (error instanceof InputError) return "damaged";
    throw error;
  }
}
