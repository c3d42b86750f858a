/** The shape of every language's texts, which is that of the English ones; a missing text does not compile. */

import type { en } from "./en";
import type { Shape } from "./shape";

export type Texts = Omit<Shape<typeof en>, "direction"> & { readonly direction: "ltr" | "rtl" };

/** Codes of refusals and uncertain results (Python: `Reason.code`); `CAUSES` holds those of files that cannot be used. */
export const REASON_CODES = [
  "too-small", "aspect", "blank", "low-contrast", "coloured", "modality", "body-part", "view", "orientation",
  "novel", "several-classes", "no-class", "uncertain-findings", "synthetic",
  "lateral", "ct", "not_xray", "inverted", "cropped", "other_part", "turned",
  "internal",
] as const;

export const LABELS = ["normal", "pneumonia", "covid19", "other", "negative", "typical"] as const;
