/** Transfer syntaxes: name (PS3.6 annex A) and decoder (PS3.5 annex A). */

export const IMPLICIT_LITTLE = "1.2.840.10008.1.2";
export const EXPLICIT_LITTLE = "1.2.840.10008.1.2.1";
export const EXPLICIT_BIG = "1.2.840.10008.1.2.2";
export const DEFLATED = "1.2.840.10008.1.2.1.99";

export type Decoder = "native" | "rle" | "jpeg" | "jpeg-lossless" | "jpeg-ls" | "jpeg-2000";

const SYNTAXES: Record<string, readonly [Decoder, string]> = {
  [IMPLICIT_LITTLE]: ["native", "Implicit VR Little Endian"],
  [EXPLICIT_LITTLE]: ["native", "Explicit VR Little Endian"],
  [EXPLICIT_BIG]: ["native", "Explicit VR Big Endian"],
  [DEFLATED]: ["native", "Deflated Explicit VR Little Endian"],
  "1.2.840.10008.1.2.5": ["rle", "RLE Lossless"],
  "1.2.840.10008.1.2.4.50": ["jpeg", "JPEG Baseline (Process 1)"],
  "1.2.840.10008.1.2.4.51": ["jpeg", "JPEG Extended (Process 2 and 4)"],
  "1.2.840.10008.1.2.4.57": ["jpeg-lossless", "JPEG Lossless, Non-Hierarchical (Process 14)"],
  "1.2.840.10008.1.2.4.70": ["jpeg-lossless", "JPEG Lossless, First-Order Prediction (Process 14, Selection Value 1)"],
  "1.2.840.10008.1.2.4.80": ["jpeg-ls", "JPEG-LS Lossless"],
  "1.2.840.10008.1.2.4.81": ["jpeg-ls", "JPEG-LS Near-Lossless"],
  "1.2.840.10008.1.2.4.90": ["jpeg-2000", "JPEG 2000 (Lossless Only)"],
  "1.2.840.10008.1.2.4.91": ["jpeg-2000", "JPEG 2000"],
  "1.2.840.10008.1.2.4.92": ["jpeg-2000", "JPEG 2000 Part 2 Multi-component (Lossless Only)"],
  "1.2.840.10008.1.2.4.93": ["jpeg-2000", "JPEG 2000 Part 2 Multi-component"],
  "1.2.840.10008.1.2.4.201": ["jpeg-2000", "High-Throughput JPEG 2000 (Lossless Only)"],
  "1.2.840.10008.1.2.4.202": ["jpeg-2000", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)"],
  "1.2.840.10008.1.2.4.203": ["jpeg-2000", "High-Throughput JPEG 2000"],
};

export function decoderOf(syntax: string): Decoder | undefined {
  return SYNTAXES[syntax]?.[0];
}

export function nameOf(syntax: string): string {
  return SYNTAXES[syntax]?.[1] ?? syntax;
}
