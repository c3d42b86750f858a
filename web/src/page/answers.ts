/** One answer in few words: what the list, the heading, the report and the screen reader say. */

import type { Words } from "../texts";
import type { Entry } from "./state";

export type Tone = "waiting" | "decided" | "uncertain" | "refused" | "failed";

export function toneOf(entry: Entry): Tone {
  if (entry.state === "failed") return "failed";
  const decision = entry.prediction?.decision;
  if (decision === undefined) return "waiting";
  return decision === "uncertain" || decision === "refused" ? decision : "decided";
}

export function headline(entry: Entry, words: Words): string {
  const { answer } = words.texts;
  switch (toneOf(entry)) {
    case "failed":
      return answer.failed;
    case "waiting":
      return answer.waiting;
    case "uncertain":
      return answer.uncertain;
    case "refused":
      return entry.prediction?.reasons.some((reason) => reason.code === "novel") ? answer.refusedNovel : answer.refusedKind;
    case "decided":
      return answer.decided(words.label(entry.prediction!.decision));
  }
}

/** For the list, where there is little room. */
export function shortAnswer(entry: Entry, words: Words): string {
  const { answer, files } = words.texts;
  if (entry.state === "waiting") return files.waiting;
  if (entry.state === "working") return files.working;
  if (entry.state === "failed") return files.unreadable;
  const decision = entry.prediction!.decision;
  return decision === "uncertain" ? answer.uncertain : decision === "refused" ? answer.refused : words.label(decision);
}

/** A sign beside the colour: colour alone tells nothing to who cannot see it. */
export const SIGNS: Record<Tone, string> = { waiting: "…", decided: "●", uncertain: "?", refused: "⊘", failed: "!" };
