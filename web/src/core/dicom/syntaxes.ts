/** Transfer syntaxes and who decodes them (PS3.5 annex A). */

import { UID_NAMES } from "./uid-names";

export const IMPLICIT_LITTLE = "1.2.840.10008.1.2";
export const EXPLICIT_LITTLE = "1.2.840.10008.1.2.1";
export const EXPLICIT_BIG = "1.2.840.10008.1.2.2";
export const DEFLATED = "1.2.840.10008.1.2.1.99";
export const RLE = "1.2.840.10008.1.2.5";

export type Decoder = "native" | "rle" | "jpeg" | "jpeg-lossless" | "jpeg-ls" | "jpeg-2000";

const DECODERS: Record<string, Decoder> = {
  [IMPLICIT_LITTLE]: "native",
  [EXPLICIT_LITTLE]: "native",
  [EXPLICIT_BIG]: "native",
  [DEFLATED]: "native",
  [RLE]: "rle",
  "1.2.840.10008.1.2.4.50": "jpeg",
  "1.2.840.10008.1.2.4.51": "jpeg",
  "1.2.840.10008.1.2.4.57": "jpeg-lossless",
  "1.2.840.10008.1.2.4.70": "jpeg-lossless",
  "1.2.840.10008.1.2.4.80": "jpeg-ls",
  "1.2.840.10008.1.2.4.81": "jpeg-ls",
  "1.2.840.10008.1.2.4.90": "jpeg-2000",
  "1.2.840.10008.1.2.4.91": "jpeg-2000",
  "1.2.840.10008.1.2.4.92": "jpeg-2000",
  "1.2.840.10008.1.2.4.93": "jpeg-2000",
  "1.2.840.10008.1.2.4.201": "jpeg-2000",
  "1.2.840.10008.1.2.4.202": "jpeg-2000",
  "1.2.840.10008.1.2.4.203": "jpeg-2000",
};

export function decoderOf(syntax: string): Decoder | undefined {
  return DECODERS[syntax];
}

export function isJpeg2000(syntax: string): boolean {
  return DECODERS[syntax] === "jpeg-2000";
}

export function nameOf(syntax: string): string {
  return UID_NAMES[syntax] ?? syntax;
}
