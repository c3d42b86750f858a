/** The manifest: its types and ranges are checked before anything of it is used (Python: `bundle.manifest_checks`). */

import type { Manifest } from "../types";
import { BundleError } from "../errors";

const FORMAT_VERSION = 2;
const READABLE_VERSIONS = [1, 2, 3]; // version 1 had no input filter
const MULTILABEL_VERSION = 3; // images may have several findings
const LONGEST_MANIFEST = 4 * 2 ** 20;
const DEEPEST_MANIFEST = 32;
const NO_LABELS = ["uncertain", "refused", "error", "__proto__"]; // what a prediction says instead of a label
const [LONGEST_NAME, LONGEST_TEXT, MOST] = [200, 100_000, 1000];
const [SMALLEST_IMAGE, LARGEST_IMAGE] = [8, 4096];
const INVISIBLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u;

type Rule = [expected: string, fits: (value: unknown) => boolean];
type Table = Record<string, unknown>;

const isTable = (value: unknown): value is Table =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === "string" && [...value].length <= LONGEST_TEXT;
const isName = (value: unknown): value is string =>
  isText(value) && [...value].length <= LONGEST_NAME && value.trim() !== "" && !INVISIBLE.test(value);
const isList = (value: unknown, fits: (one: unknown) => boolean): value is unknown[] =>
  Array.isArray(value) && value.length <= MOST && value.every(fits);
const areNames = (value: unknown): value is string[] =>
  isList(value, isName) && value.length > 1 && new Set(value).size === value.length;
const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const between = (low: number, high: number): Rule => [
  `a number from ${low} to ${high}`,
  (value) => isNumber(value) && low <= value && value <= high,
];
const inside = (low: number, high: number): Rule => [
  `a number between ${low} and ${high}`,
  (value) => isNumber(value) && low < value && value < high,
];
const oneOf = (...choices: unknown[]): Rule => [choices.join(" or "), (value) => choices.includes(value)];

const NAME: Rule = [`a text of 1 to ${LONGEST_NAME} visible characters`, isName];
const TEXT: Rule = [`a text of at most ${LONGEST_TEXT} characters`, isText];
const TABLE: Rule = ["a table", isTable];

const MANIFEST: Record<string, Rule> = {
  format_version: oneOf(...READABLE_VERSIONS),
  name: NAME,
  version: NAME,
  created: NAME,
  task: NAME,
  labels: [
    `two or more different names, none of them ${NO_LABELS.join(", ")}`,
    (value) => areNames(value) && !value.some((label) => NO_LABELS.includes(label)),
  ],
  positive: TEXT,
  preprocessing: TABLE,
  temperature: between(0.001, 1000),
  conformal_quantile: between(0, 1),
  conformal_coverage: inside(0, 1),
  operating_points: ["a list of tables", (value) => isList(value, isTable)],
  licence: TEXT,
  intended_use: TEXT,
  limits: ["a list of texts", (value) => isList(value, isText)],
  metrics: TABLE,
  data: TABLE,
  teacher: TABLE,
  run: TABLE,
  input_gate: ["a table or null", (value) => value === null || isTable(value)],
  findings: ["a list of tables", (value) => isList(value, isTable)],
};
const MAY_LACK = ["metrics", "data", "teacher", "run", "input_gate", "findings"];
const FINDING: Record<string, Rule> = {
  label: NAME,
  temperature: between(0.001, 1000),
  conformal_quantile: between(0, 1),
};
const PREPROCESSING: Record<string, Rule> = {
  size: [
    `a whole number of pixels from ${SMALLEST_IMAGE} to ${LARGEST_IMAGE}`,
    (value) => Number.isInteger(value) && SMALLEST_IMAGE <= (value as number) && (value as number) <= LARGEST_IMAGE,
  ],
  aspect: oneOf("squash", "pad"),
  resampling: oneOf("triangle-antialias"),
  polarity: oneOf("MONOCHROME2"),
};
const OPERATING_POINT: Record<string, Rule> = {
  name: NAME,
  label: NAME,
  threshold: between(0, 1),
  sensitivity: between(0, 1),
  specificity: between(0, 1),
  chosen_on: TEXT,
};
const INPUT_FILTER: Record<string, Rule> = {
  kinds: ["two or more different texts (input filter)", areNames],
  accept: NAME,
  threshold: ["a number between 0 and 1 (input filter)", inside(0, 1)[1]],
  words: ["a table of texts", (value) => isTable(value) && Object.values(value).every(isText)],
};

/** Read a manifest; a field that is missing, unknown, of another type or outside its range is refused. */
export function parseManifest(text: string, name: string): Manifest {
  if (text.length > LONGEST_MANIFEST) throw refused(name, `more than ${LONGEST_MANIFEST} characters`);
  let table: unknown;
  try {
    table = JSON.parse(text);
  } catch {
    throw refused(name, "no JSON");
  }
  const version = isTable(table) ? table["format_version"] : undefined;
  if (!isTable(table) || !READABLE_VERSIONS.includes(version as number)) {
    const found = shown(version);
    throw new BundleError(`${name}: bundle has format version ${found}, expected ${FORMAT_VERSION}: export it again`);
  }
  if (depthOf(table) > DEEPEST_MANIFEST) throw refused(name, `more than ${DEEPEST_MANIFEST} levels`);
  checkFields(table, name);
  return Object.assign({ metrics: {}, data: {}, teacher: {}, run: {} }, table) as unknown as Manifest;
}

function checkFields(table: Table, name: string): void {
  checkTable(table, MANIFEST, "", name);
  const labels = table["labels"] as string[];
  const label = oneOf(...labels);
  const several = Object.hasOwn(table, "findings");
  if (several !== (table["format_version"] === MULTILABEL_VERSION)) {
    throw refused(name, `findings belong to format version ${MULTILABEL_VERSION}`);
  }
  if (several) checkFindings(table, labels, name);
  else check(table["positive"], label, "positive", name);
  checkTable(table["preprocessing"] as Table, PREPROCESSING, "preprocessing.", name);
  const points = table["operating_points"] as Table[];
  points.forEach((point, at) => checkTable(point, { ...OPERATING_POINT, label }, `operating_points[${at}].`, name));
  const names = points.map((point) => JSON.stringify([point["label"], point["name"]]));
  check(names, ["different names", () => new Set(names).size === names.length], "operating_points", name);
  if (isTable(table["input_gate"])) checkFilter(table["input_gate"], name);
}

/** What one class per image has once, each finding has for itself. */
function checkFindings(table: Table, labels: readonly string[], name: string): void {
  for (const [key, value] of [["positive", ""], ["temperature", 1], ["conformal_quantile", 1]] as const) {
    check(table[key], [`${JSON.stringify(value)} beside findings`, (found) => found === value], key, name);
  }
  const findings = table["findings"] as Table[];
  findings.forEach((finding, at) => checkTable(finding, FINDING, `findings[${at}].`, name));
  const named = findings.map((finding) => finding["label"]);
  check(named, ["the labels in their order", () => named.join("\n") === labels.join("\n")], "findings", name);
}

/** Refuse a learned input filter that contradicts itself. */
function checkFilter(filter: Table, name: string): void {
  checkTable(filter, INPUT_FILTER, "input_gate.", name);
  const [kinds, words] = [filter["kinds"] as string[], filter["words"] as Record<string, string>];
  check(filter["accept"], oneOf(...kinds), "input_gate.accept (input filter)", name);
  const silent = kinds.filter((kind) => kind !== filter["accept"] && !words[kind]);
  const rule: Rule = ["words for every kind that is refused (input filter)", () => !silent.length];
  check(silent, rule, "input_gate.words", name);
}

function checkTable(table: Table, rules: Record<string, Rule>, place: string, name: string): void {
  const unknown = Object.keys(table).find((key) => !Object.hasOwn(rules, key));
  if (unknown !== undefined) throw refused(name, `${place}${shown(unknown)} is no field of it`);
  for (const [key, rule] of Object.entries(rules)) {
    if (Object.hasOwn(table, key)) check(table[key], rule, `${place}${key}`, name);
    else if (place || !MAY_LACK.includes(key)) throw refused(name, `no ${place}${key}`);
  }
}

function check(value: unknown, [expected, fits]: Rule, place: string, name: string): void {
  if (!fits(value)) throw refused(name, `${place}: expected ${expected}, found ${shown(value)}`);
}

function refused(name: string, words: string): BundleError {
  return new BundleError(`${name}: bundle manifest cannot be read (${words}): export the bundle again`);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 60);
}

/** Levels of tables and lists inside each other, without recursion. */
function depthOf(table: Table): number {
  let deepest = 0;
  for (let level: unknown[] = [table]; level.length && deepest <= DEEPEST_MANIFEST; deepest++) {
    const holders = level.filter((one): one is object => typeof one === "object" && one !== null);
    if (!holders.length) break;
    level = holders.flatMap((one) => Object.values(one) as unknown[]);
  }
  return deepest;
}
