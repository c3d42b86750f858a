/** Messages between the page and its worker. */

import type { Cause } from "../errors";
import type { Manifest, Picture } from "../types";
import type { Answer } from "./decision";

/** What prediction needs of a picture, made while it was read: reasons against it, or the network's input. */
export interface Prepared {
  answer: Answer | null;
  input: Float32Array | null;
  readMs: number;
  /** The file says that it shows no patient. */
  synthetic: boolean;
}

export type Call =
  | { kind: "start"; threads: number }
  | { kind: "load"; model: Uint8Array; manifest: Manifest; name: string }
  | { kind: "read"; name: string; bytes: ArrayBuffer }
  | { kind: "predict"; input: Float32Array };

export type Result = {
  start: null;
  load: null;
  read: { picture: Picture; prepared: Prepared };
  predict: { answer: Answer; milliseconds: number };
};

export interface Request {
  id: number;
  call: Call;
}

/** `code` is of an InputError, `bundle` for a BundleError, empty for a fault of the program; `detail` is its text. */
export type Reply =
  | { id: number; result: Result[keyof Result] }
  | { id: number; error: { code: Cause | "bundle" | ""; detail: string } };
