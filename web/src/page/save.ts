/** Offers a text to be saved as a file; it is made in the browser and goes nowhere else. */

import { h } from "./dom";

const TYPES = { csv: "text/csv;charset=utf-8", json: "application/json" };

export function saveText(text: string, { kind, made, of = "" }: { kind: keyof typeof TYPES; made: Date; of?: string }): void {
  const url = URL.createObjectURL(new Blob([text], { type: TYPES[kind] }));
  const moment = made.toISOString().slice(0, 19).replaceAll(":", "");
  h("a", { href: url, download: `pocketcxr-${of && `${of}-`}${moment}.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
