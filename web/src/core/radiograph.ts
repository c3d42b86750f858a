/** The image that every reader returns, and the limits of its size (Python: `imaging.radiograph`). */

import { InputError } from "./errors";
import type { Picture } from "./types";

/** Most pixels that are decoded: 8000 x 8000, twice the largest digitised films. */
export const MAX_PIXELS = 64_000_000;

/** Largest file that is read. */
export const MAX_FILE_BYTES = 512 * 1024 * 1024;

/** What the file says of the picture; an empty string means that it does not say. Nothing here identifies a person. */
export interface ImageMetadata {
  format: "DICOM" | "PNG" | "JPEG" | "BMP" | "WEBP";
  width: number;
  height: number;
  bits: number;
  colour: boolean;
  modality: string;
  bodyPart: string;
  view: string;
  orientation: string;
  transferSyntax: string;
  notes: string[];
  /** The file says that it shows no patient. */
  synthetic: boolean;
}

/** Mark of a synthetic PNG or JPEG: the text of its comment; DICOM has SyntheticData (Python: `imaging.radiograph`). */
export const DRAWING = "drawn by pocketcxr phantom; not a patient";

export interface Window {
  centre: number;
  width: number;
  inverted: boolean;
}

/** `pixels` [H, W] in [0, 1], MONOCHROME2; `values`, `window` and `spacing` are for display (see `types.Picture`). */
export interface Radiograph {
  pixels: Float32Array;
  values: Float32Array;
  window: Window;
  spacing: Picture["spacing"];
  metadata: ImageMetadata;
}

export function rasterMetadata(
  format: ImageMetadata["format"],
  size: { width: number; height: number },
  grey: { bits: number; colour: boolean; notes: string[] },
  comment = "",
): ImageMetadata {
  const header = { modality: "", bodyPart: "", view: "", orientation: "", transferSyntax: "" };
  return { format, ...size, bits: grey.bits, colour: grey.colour, ...header, notes: grey.notes, synthetic: comment === DRAWING };
}

/** Refuse a picture by the size its header gives, before anything is decoded. */
export function checkPixelCount(width: number, height: number): void {
  if (width < 1 || height < 1) throw new InputError("no-pixels", `${width} x ${height}`);
  if (width * height > MAX_PIXELS) throw new InputError("too-many-pixels", `${width} x ${height}`);
}
