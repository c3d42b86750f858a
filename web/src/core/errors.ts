/** The errors that a user can act on. Codes are those of the Python package; the page has their texts in its languages. */

/** Causes for which a file is not scored, with the code of its record (Python: `InputError.code` and `.category`). */
export const CAUSES = {
  "empty-file": "unreadable",
  "unknown-format": "unreadable",
  "damaged": "unreadable",
  "too-many-bytes": "unreadable",
  "too-many-pixels": "unreadable",
  "no-pixels": "unreadable",
  "header-mismatch": "unreadable",
  "unsupported-compression": "unreadable",
  "several-frames": "unusable",
  "undefined-grey-scale": "unusable",
  "values-exceed-bits": "unusable",
  "no-pixel-data": "unusable",
  "incomplete-header": "unusable",
  "unsupported-header": "unusable",
  "unsupported-colour": "unusable",
  "no-transfer-syntax": "unusable",
  "for-processing": "unusable",
  "enhanced-dicom": "unusable",
  // in the browser only
  "no-permission": "unreadable",
  "not-in-browser": "unreadable",
  "out-of-memory": "unreadable",
  "decoder-not-loaded": "unreadable",
} as const satisfies Record<string, "unreadable" | "unusable">;

export type Cause = keyof typeof CAUSES;

/** A file that cannot be read or used: the cause, and values that describe it in no language, such as `60 x 50`. */
export class InputError extends Error {
  constructor(
    readonly code: Cause,
    readonly detail = "",
  ) {
    super(detail ? `${code} (${detail})` : code);
    this.name = "InputError";
  }

  get category(): "unreadable" | "unusable" {
    return CAUSES[this.code];
  }
}

/** The file is damaged, ends early, or holds a variant that the decoder does not know. */
export function damaged(): InputError {
  return new InputError("damaged");
}

/** A model that is missing, damaged, changed or of another format; the message is one line. */
export class BundleError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "BundleError";
  }
}

/** Wait for a dynamic import or a fetched decoder: where it fails, nothing is wrong with the file. */
export async function loaded<T>(loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (error) {
    throw new InputError("decoder-not-loaded", error instanceof Error ? error.message : String(error));
  }
}
