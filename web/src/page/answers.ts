/** One answer in few locale: what the list, the heading, the report and the screen reader say. */

import type { Prediction, Reason } from "../core/api";
import type { Locale } from "../locales";
import type { Texts } from "../locales/catalogue";
import type { Entry } from "./state";

export type Tone = "waiting" | "decided" | "uncertain" | "refused" | "failed";

export function toneOf(entry: Entry): Tone {
  if (entry.state === "failed") return "failed";
  const decision = entry.prediction?.decision;
  if (decision === undefined) return "waiting";
  return decision === "uncertain" || decision === "refused" ? decision : "decided";
}

export function headline(entry: Entry, locale: Locale): string {
  const { answer } = locale.texts;
  switch (toneOf(entry)) {
    case "failed":
      return answer.failed;
    case "waiting":
      return answer.waiting;
    case "uncertain":
      return answer.uncertain;
    case "refused":
      return refusal(entry.prediction!.reasons, locale);
    case "decided":
      return answer.decided(decisionText(entry.prediction!, locale));
  }
}

/** A decided class; of several findings those that are present. */
function decisionText({ decision, findings }: Prediction, { label, list, texts }: Locale): string {
  if (Object.keys(findings).length === 0) return label(decision);
  const present = Object.keys(findings).filter((one) => findings[one] === "present");
  return present.length > 0 ? list(present.map(label)) : texts.findings.none;
}

// What a better copy of the same image would mend; every other refusal is about what the picture shows.
const QUALITY = new Set(["too-small", "aspect", "blank", "low-contrast", "orientation", "inverted", "cropped", "turned"]);

function refusal(reasons: readonly Reason[], locale: Locale): string {
  const { answer } = locale.texts;
  reasons = reasons.filter(({ code }) => code !== SYNTHETIC);
  if (reasons.every(({ code }) => code === "novel")) return answer.refusedNovel;
  return reasons.every(({ code }) => QUALITY.has(code)) ? answer.refusedQuality : answer.refusedKind;
}

const SYNTHETIC = "synthetic";

/** Whether the file says that it shows no patient. */
export function isSynthetic({ prediction }: Entry): boolean {
  return prediction?.reasons.some(({ code }) => code === SYNTHETIC) ?? false;
}

/** Why an image is not scored, has no single class, or could not be read. */
export function reasonsOf({ prediction, failure }: Entry): readonly Reason[] {
  return prediction?.reasons ?? (failure ? [failure] : []);
}

/** One reason in a language, with its values in brackets; a kind that only the bundle knows by the bundle's own text. */
export function textOf({ code, cause, detail }: Reason, { reasons }: Texts): string {
  const known: Readonly<Record<string, string>> = reasons;
  const text = known[cause ?? code];
  return text && detail ? `${text} (${detail})` : (text ?? detail ?? code);
}

/** For the list, where there is little room. */
export function shortAnswer(entry: Entry, locale: Locale): string {
  const { answer, files } = locale.texts;
  if (entry.state === "waiting") return files.waiting;
  if (entry.state === "working") return files.working;
  if (entry.state === "failed") return files.unreadable;
  const decision = entry.prediction!.decision;
  const short = decision === "uncertain" ? answer.uncertain : decision === "refused" ? answer.refused : decisionText(entry.prediction!, locale);
  return isSynthetic(entry) ? `${short} (${answer.synthetic})` : short;
}

/** A sign beside the colour, for people who cannot tell colours apart. */
export const SIGNS: Record<Tone, string> = { waiting: "…", decided: "●", uncertain: "?", refused: "⊘", failed: "!" };
