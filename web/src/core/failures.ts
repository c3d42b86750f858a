/** The errors that a user can act on, with the codes that the Python package gives. */

/** A file that cannot be read or used; `code` is `unreadable` or `unusable`, the message one line. */
export class InputError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "InputError";
    this.code = code;
  }
}

/** A model that is missing, damaged, changed or of another format; the message is one line. */
export class BundleError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "BundleError";
  }
}

/** The file cannot be decoded: empty, truncated, another format, too many pixels. */
export function unreadable(message: string): InputError {
  return new InputError("unreadable", message);
}

/** The file decodes, but a defined grey-scale radiograph cannot be derived from it without guessing. */
export function unusable(message: string): InputError {
  return new InputError("unusable", message);
}

/**
 * Damage that Python meets as an exception of another library. Its class name stands in the message there, so it stands
 * here too; `reading` puts it into words.
 */
export class DecodeFault extends Error {
  readonly pythonName: string;

  constructor(pythonName: string, message = pythonName) {
    super(message);
    this.pythonName = pythonName;
  }
}

/** A part of this program could not be fetched: nothing is wrong with the file. */
export class NotLoadedError extends Error {}

/** Wait for a dynamic import or a fetched decoder. */
export async function loaded<T>(loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (error) {
    throw new NotLoadedError(error instanceof Error ? error.message : String(error));
  }
}
