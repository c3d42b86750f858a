/** Recognises a file by its first bytes (Python: `imaging.file_type`). */

export type RasterFormat = "PNG" | "JPEG" | "BMP" | "TIFF" | "WEBP";

const RASTERS: [number[], RasterFormat][] = [
  [[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], "PNG"],
  [[0xff, 0xd8, 0xff], "JPEG"],
  [[0x42, 0x4d], "BMP"],
  [[0x49, 0x49, 0x2a, 0x00], "TIFF"],
  [[0x4d, 0x4d, 0x00, 0x2a], "TIFF"],
  [[0x49, 0x49, 0x2b, 0x00], "TIFF"],
  [[0x4d, 0x4d, 0x00, 0x2b], "TIFF"],
];

const NOT_READ: [string, string][] = [
  ["GIF8", "GIF"],
  ["%PDF", "PDF"],
  ["PK\x03\x04", "ZIP"],
  ["\x1f\x8b", "gzip"],
  ["\xff\x4f\xff\x51", "JPEG 2000"],
  ["\x00\x00\x00\x0cjP  ", "JPEG 2000"],
  ["<", "HTML, XML"],
];

// PS3.5 table 6.2-1: what may stand as a value representation in explicit encoding
export const VALUE_REPRESENTATIONS = new Set(
  "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split(" "),
);

/** Bytes as characters 0 to 255. */
export function latin(data: Uint8Array, start = 0, end = data.length): string {
  return String.fromCharCode(...data.subarray(start, end));
}

/** Name of the raster format that the bytes begin as, or an empty string. */
export function rasterFormat(data: Uint8Array): RasterFormat | "" {
  if (latin(data, 128, 132) === "DICM") return ""; // its preamble may be the header of a TIFF (PS3.10 section 7.1)
  if (latin(data, 0, 4) === "RIFF" && latin(data, 8, 12) === "WEBP") return "WEBP";
  for (const [signature, name] of RASTERS) {
    if (!signature.every((byte, index) => data[index] === byte)) continue;
    // two letters are a weak sign: a BMP also gives the size of its second header, 12 to 124 bytes
    if (name === "BMP") {
      const size = data.length >= 18 ? new DataView(data.buffer, data.byteOffset).getUint32(14, true) : 0;
      if (size < 12 || size > 124) continue;
    }
    return name;
  }
  return "";
}

/**
 * Whether the bytes are DICOM: the DICM mark (PS3.10 section 7.1), or none but a plausible first element.
 *
 * Files from before 1996 and raw network captures start at once with an element of group 0002 or 0008.
 */
export function looksLikeDicom(data: Uint8Array): boolean {
  return latin(data, 128, 132) === "DICM" || plausibleElement(data, true) || plausibleElement(data, false);
}

function plausibleElement(data: Uint8Array, little: boolean): boolean {
  if (data.length < 16) return false;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [group, element] = [view.getUint16(0, little), view.getUint16(2, little)];
  if ((group !== 2 && group !== 8) || element > 0x0100) return false; // the lists start with low numbers
  if (VALUE_REPRESENTATIONS.has(latin(data, 4, 6))) return true;
  // implicit: a short length, after which the next element of the same group follows
  const next = 8 + view.getUint32(4, little);
  if (!little || next + 4 > data.length) return false;
  return view.getUint16(next, true) === group && view.getUint16(next + 2, true) > element;
}

/** Name of a known format that is not read, or an empty string. */
export function foreignFormat(data: Uint8Array): string {
  const known = NOT_READ.find(([signature]) => latin(data, 0, signature.length) === signature);
  return known?.[1] ?? (latin(data, 4, 8) === "ftyp" ? "HEIC, AVIF" : "");
}
