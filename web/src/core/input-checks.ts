/** Checks whether an image may be scored: codes and limits of `pocketcxr.imaging.input_checks`, which gives their sources. */

import { ANOTHER_VALUE, knownTerm } from "./dicom/header-terms";
import type { Reason } from "./types";
import type { ImageMetadata, Radiograph } from "./radiograph";

const MIN_SIDE = 96;
const MAX_ASPECT = 2.5;
const MIN_CONTRAST = 0.12;
const BLANK_CONTRAST = 0.02;
const MIN_DEEP_RANGE = 0.1;
const SAMPLED_PIXELS = 65_536;

const RADIOGRAPHY = new Set(["CR", "DX", "RG", "DR"]);
const UNSPECIFIC = new Set(["", "OT", "SC"]);
const CHEST = new Set(["CHEST", "THORAX", "TORAX", "PECHO", "LUNG", "LUNGS"]);
const LATERAL = new Set(["LAT", "LATERAL", "LL", "RL"]);
const NEUTRAL = new Set(
  ("PA AP FRONTAL PORT PORTABLE PORTATIL MOBILE BEDSIDE BED ERECT UPRIGHT STANDING SUPINE SITTING SEMI VIEW VIEWS " +
    "ADULT PED CHILD")
    .split(" "),
);
const FRONTAL = new Set(["PA", "AP", "POSTEROANTERIOR", "ANTEROPOSTERIOR", "FRONTAL"]);

/** All reasons against scoring a picture; empty means that it may be scored. */
export function refusalReasons(radiograph: Radiograph): Reason[] {
  const { metadata } = radiograph;
  return [
    ...shapeReasons(metadata),
    ...contrastReasons(radiograph),
    ...(metadata.colour ? [reason("coloured")] : []),
    ...(metadata.format === "DICOM" ? modalityReasons(metadata) : []),
    ...bodyPartReasons(metadata),
    ...viewReasons(metadata),
    ...orientationReasons(metadata),
  ];
}

function reason(code: string, detail = ""): Reason {
  return detail ? { code, detail } : { code };
}

function shapeReasons({ width, height }: ImageMetadata): Reason[] {
  const shorter = Math.min(width, height);
  const reasons: Reason[] = [];
  if (shorter < MIN_SIDE) reasons.push(reason("too-small", `${width} x ${height} < ${MIN_SIDE}`));
  if (Math.max(width, height) > MAX_ASPECT * shorter) reasons.push(reason("aspect", `${width} x ${height}`));
  return reasons;
}

function contrastReasons({ pixels, metadata }: Radiograph): Reason[] {
  if (metadata.bits > 8 && metadata.format !== "DICOM") {
    const range = Math.fround(rangeOf(pixels));
    if (range < MIN_DEEP_RANGE) return [reason("low-contrast", `${metadata.bits} bits, ${percent(range)}`)];
  }
  const contrast = contrastOf(pixels, metadata.width, metadata.height);
  if (contrast < BLANK_CONTRAST) return [reason("blank")];
  return contrast < MIN_CONTRAST ? [reason("low-contrast", `${percent(contrast)} < ${percent(MIN_CONTRAST)}`)] : [];
}

function rangeOf(pixels: Float32Array): number {
  let lowest = Infinity;
  let highest = -Infinity;
  for (const value of pixels) {
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  return highest - lowest;
}

/** Difference between the 1st and 99th percentile of sampled pixels. */
export function contrastOf(pixels: Float32Array, width: number, height: number): number {
  const step = Math.max(1, Math.ceil((pixels.length / SAMPLED_PIXELS) ** 0.5));
  const rows = Math.ceil(height / step);
  const columns = Math.ceil(width / step);
  const samples = new Float32Array(rows * columns);
  for (let y = 0, to = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) samples[to++] = pixels[y * width + x]!;
  }
  samples.sort();
  const [dark, bright] = [0.01, 0.99].map((fraction) => {
    const rank = fraction * (samples.length - 1);
    const below = Math.trunc(rank);
    const low = samples[below]!;
    return low + (samples[Math.min(below + 1, samples.length - 1)]! - low) * (rank - below);
  }) as [number, number];
  return bright - dark;
}

function modalityReasons({ modality, bodyPart, view }: ImageMetadata): Reason[] {
  if (RADIOGRAPHY.has(modality)) return [];
  // of an unspecific modality, body part and view are checked below
  if (UNSPECIFIC.has(modality) && bodyPart && view) return [];
  return [reason("modality", `Modality ${knownTerm(modality)}`)];
}

function bodyPartReasons({ bodyPart }: ImageMetadata): Reason[] {
  if (!bodyPart) return [];
  const words = wordsOf(bodyPart);
  const known = (word: string): boolean => CHEST.has(word) || NEUTRAL.has(word) || LATERAL.has(word);
  if (!words.some((word) => CHEST.has(word)) || !words.every(known)) {
    return [reason("body-part", knownTerm(bodyPart))];
  }
  return words.some((word) => LATERAL.has(word)) ? [reason("view", knownTerm(bodyPart))] : [];
}

function viewReasons({ view }: ImageMetadata): Reason[] {
  if (!view) return [];
  // postero-anterior, POSTERO_ANTERIOR and POSTEROANTERIOR are one view
  const words = wordsOf(view.replace(/(postero|antero)[\s_-]+(anterior|posterior)/gi, "$1$2"));
  const known = (word: string): boolean => FRONTAL.has(word) || NEUTRAL.has(word) || CHEST.has(word);
  if (words.some((word) => FRONTAL.has(word)) && words.every(known)) return [];
  return [reason("view", knownTerm(view))];
}

/** PatientOrientation (PS3.3 C.7.6.1.1.1) names where rows and columns run; frontal is left, then feet. */
function orientationReasons({ orientation }: ImageMetadata): Reason[] {
  const parts = orientation.toUpperCase().split("\\");
  if (parts.length !== 2 || !parts[0] || !parts[1]) return [];
  const shown = /^[APLRHF]+\\[APLRHF]+$/.test(orientation) ? orientation : ANOTHER_VALUE;
  const [along, down] = [[...parts[0]][0]!, [...parts[1]][0]!];
  if (along === "A" || along === "P") return [reason("view", `PatientOrientation ${shown}`)];
  if (along === "L" && down === "F") return [];
  return [reason("orientation", shown)];
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

/** Upper-case words without accents, digits left out: `"2- TÒRAX"` is `["TORAX"]`. */
function wordsOf(text: string): string[] {
  const plain = [...text.normalize("NFKD")].filter((character) => character.charCodeAt(0) < 128).join("");
  return plain.toUpperCase().match(/[A-Z]+/g) ?? [];
}
