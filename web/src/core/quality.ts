/**
 * The input gate: why a picture may not be scored, in words that a radiographer understands.
 *
 * The limits and the words are those of `pocketcxr.imaging.input_checks`, which tells where they come from.
 */

import type { Reason } from "./api";
import { head, percent, repr } from "./python-format";
import type { ImageFacts, Radiograph } from "./radiograph";

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
  const { facts } = radiograph;
  return [
    ...shapeReasons(facts),
    ...contrastReasons(radiograph),
    ...colourReasons(facts),
    ...(facts.format === "DICOM" ? modalityReasons(facts) : []),
    ...bodyPartReasons(facts),
    ...viewReasons(facts),
    ...orientationReasons(facts),
  ];
}

function reason(code: string, words: string): Reason {
  return { code, words };
}

function shapeReasons({ width, height }: ImageFacts): Reason[] {
  const shorter = Math.min(width, height);
  const reasons: Reason[] = [];
  if (shorter < MIN_SIDE) {
    reasons.push(
      reason(
        "too-small",
        `the picture has ${width} x ${height} pixels, at least ${MIN_SIDE} a side are needed; ` +
          "use the original rather than a preview",
      ),
    );
  }
  if (Math.max(width, height) > MAX_ASPECT * shorter) {
    reasons.push(reason("aspect", `the picture is a strip (${width} x ${height}); send the whole chest film`));
  }
  return reasons;
}

function contrastReasons({ pixels, facts }: Radiograph): Reason[] {
  if (facts.bits > 8 && facts.format !== "DICOM") {
    const range = Math.fround(rangeOf(pixels));
    if (range < MIN_DEEP_RANGE) {
      const words =
        `a ${facts.bits}-bit picture that uses ${percent(range)} of its grey scale; ` +
        "export it again stretched to the full range, or send the DICOM file";
      return [reason("low-contrast", words)];
    }
  }
  const contrast = contrastOf(pixels, facts.width, facts.height);
  if (contrast < BLANK_CONTRAST) {
    return [reason("blank", "the picture is blank: all of it has nearly one brightness")];
  }
  if (contrast < MIN_CONTRAST) {
    const words =
      `the picture uses ${percent(contrast)} of the grey scale, so lungs and bones merge; ` +
      "check exposure and window, and export it again";
    return [reason("low-contrast", words)];
  }
  return [];
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

function colourReasons(facts: ImageFacts): Reason[] {
  const words = "the picture is coloured, as photographs and screenshots are; send the X-ray itself";
  return facts.colour ? [reason("coloured", words)] : [];
}

function modalityReasons({ modality, bodyPart, view }: ImageFacts): Reason[] {
  if (RADIOGRAPHY.has(modality)) return [];
  if (!UNSPECIFIC.has(modality)) {
    const words = `the DICOM header says modality ${quoted(modality)}; only radiographs (CR, DX, RG) are scored`;
    return [reason("modality", words)];
  }
  if (bodyPart && view) return []; // judged below
  const words =
    `the DICOM header gives modality ${modality || "none"} and not both body part and view, so ` +
    "nothing says that this is a chest radiograph";
  return [reason("modality", words)];
}

function bodyPartReasons({ bodyPart }: ImageFacts): Reason[] {
  if (!bodyPart) return [];
  const words = wordsOf(bodyPart);
  const known = (word: string): boolean => CHEST.has(word) || NEUTRAL.has(word) || LATERAL.has(word);
  if (!words.some((word) => CHEST.has(word)) || !words.every(known)) {
    const text = `the DICOM header says body part ${quoted(bodyPart)}; only chest radiographs are scored`;
    return [reason("body-part", text)];
  }
  if (!words.some((word) => LATERAL.has(word))) return [];
  return [reason("view", `the DICOM header says ${quoted(bodyPart)}; only frontal views are scored`)];
}

function viewReasons({ view }: ImageFacts): Reason[] {
  if (!view) return [];
  // postero-anterior, POSTERO_ANTERIOR and POSTEROANTERIOR are one view
  const words = wordsOf(view.replace(/(postero|antero)[\s_-]+(anterior|posterior)/gi, "$1$2"));
  const known = (word: string): boolean => FRONTAL.has(word) || NEUTRAL.has(word) || CHEST.has(word);
  if (words.some((word) => FRONTAL.has(word)) && words.every(known)) return [];
  return [reason("view", `the DICOM header says view ${quoted(view)}; only frontal views (PA or AP) are scored`)];
}

/** PatientOrientation (PS3.3 C.7.6.1.1.1) names where rows and columns run; frontal is left, then feet. */
function orientationReasons({ orientation }: ImageFacts): Reason[] {
  const parts = orientation.toUpperCase().split("\\");
  if (parts.length !== 2 || !parts[0] || !parts[1]) return [];
  const [along, down] = [[...parts[0]][0]!, [...parts[1]][0]!];
  if (along === "A" || along === "P") {
    return [reason("view", "the DICOM header says that the picture is a side view; only frontal views are scored")];
  }
  if (along === "R" && down === "F") {
    const words = "the DICOM header says that the picture is mirrored; send it the right way round";
    return [reason("orientation", words)];
  }
  if (along === "L" && down === "F") return [];
  return [
    reason("orientation", "the DICOM header says that the picture lies on its side or head; turn it upright"),
  ];
}

/** Upper-case words without accents, digits left out: `"2- TÒRAX"` is `["TORAX"]`. */
function wordsOf(text: string): string[] {
  const plain = [...text.normalize("NFKD")].filter((character) => character.charCodeAt(0) < 128).join("");
  return plain.toUpperCase().match(/[A-Z]+/g) ?? [];
}

/** A header's code for a message; free text, which might name a person, is cut to a code's length (PS3.5: 16). */
function quoted(text: string): string {
  return repr(head(text, 16));
}
