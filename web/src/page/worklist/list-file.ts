/** The whole worklist as one file: a table or records, in the order of adding, whatever the filters show. */

import type { Engine } from "../../core/api";
import { recordOf } from "../panels/record";
import type { State } from "../state";

export function listAsJson(engine: Engine, state: State, made: Date): string {
  return JSON.stringify(recordsOf(engine, state, made), null, 2);
}

/** One line per file: the columns of `pocketcxr predict --format csv`, then the page's own. */
export function listAsCsv(engine: Engine, state: State, made: Date): string {
  const { labels, findings } = engine.manifest;
  const own = findings
    ? labels.flatMap((label) => [`prevalence_${label}`, `at_prevalence_${label}`, `called_${label}`])
    : ["prevalence", "probability_at_prevalence", "called"];
  const head = [
    "path", "decision", ...labels.map((label) => `probability_${label}`), ...(findings ? labels.map((label) => `finding_${label}`) : []),
    "novelty", "reason_codes", "reasons", "bundle", "number", "file_sha256", ...own, "made",
  ];
  const lines = recordsOf(engine, state, made).map((record) => {
    const table = (key: string): Record<string, unknown> => (record[key] ?? {}) as Record<string, unknown>;
    const reasons = record["reasons"] as { code: string; words: string }[];
    const numbers = (label: string): unknown[] => {
      const { prevalence, probability, called } = (table("at_prevalence")[label] ?? {}) as Record<string, unknown>;
      return [prevalence, probability, called];
    };
    return [
      record["path"], record["decision"], ...labels.map((label) => table("probabilities")[label]),
      ...(findings ? labels.map((label) => table("findings")[label]) : []), record["novelty"],
      reasons.map(({ code }) => code).join("; "), reasons.map(({ words }) => words).join("; "), record["bundle"],
      record["number"], record["file_sha256"], ...(findings ? labels.flatMap(numbers) : own.map((key) => record[key])), record["made"],
    ];
  });
  return [head, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

function recordsOf(engine: Engine, state: State, made: Date): Record<string, unknown>[] {
  const done = state.entries.filter((entry) => entry.state === "answered" || entry.state === "failed");
  return done.map((entry, i) => ({ number: i + 1, ...recordOf(entry, engine, state, made) }));
}

/** RFC 4180; a text that a spreadsheet would take for a formula is kept from it by an apostrophe. */
function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
