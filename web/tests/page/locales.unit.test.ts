import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { CRITERIA, LANGUAGES, bestLanguage, localeOf, type Language } from "../../src/locales";
import { FINDINGS, findingName } from "../../src/locales/findings";
import { CAUSES } from "../../src/core/errors";
import { noteText } from "../../src/locales/notes";
import { LABELS, REASON_CODES } from "../../src/locales/catalogue";

/** Every text by its path; functions are called with marks in place of numbers and names. */
function flatten(value: unknown, path = ""): Map<string, string> {
  const found = new Map<string, string>();
  if (typeof value === "string") found.set(path, value);
  else if (typeof value === "function") {
    const marks = Array.from({ length: value.length }, (_, i) => `<${i}>`);
    found.set(path, (value as (...marks: string[]) => string)(...marks));
  } else {
    for (const [key, child] of Object.entries(value as object)) {
      for (const [inner, text] of flatten(child, path ? `${path}.${key}` : key)) found.set(inner, text);
    }
  }
  return found;
}

const english = flatten(LANGUAGES.en);
const marksOf = (text: string): string[] => (text.match(/<\d>/g) ?? []).sort();
const codes = Object.keys(LANGUAGES) as Language[];

describe.each(codes)("texts in %s", (code) => {
  const texts = flatten(LANGUAGES[code]);

  it("has the same keys as English, none empty", () => {
    expect([...texts.keys()].sort()).toEqual([...english.keys()].sort());
    expect([...texts].filter(([, text]) => text.trim() === "")).toEqual([]);
  });

  it("names every number and name that English names", () => {
    for (const [key, text] of texts) expect([key, ...marksOf(text)]).toEqual([key, ...marksOf(english.get(key)!)]);
  });

  it("explains every reason code and label", () => {
    expect(Object.keys(LANGUAGES[code].reasons).sort()).toEqual([...REASON_CODES, ...Object.keys(CAUSES)].sort());
    expect(Object.keys(LANGUAGES[code].labels).sort()).toEqual([...LABELS].sort());
  });

  it("is written in its own script", () => {
    const script = { fa: /\p{Script=Arabic}/u, zh: /\p{Script=Han}/u }[code as string];
    const same = [...texts].filter(([key, text]) => text === english.get(key));
    if (code !== "en") expect(same.map(([key]) => key).filter((key) => !/direction|title|hash|labels|decided$|answered|language|progress|units/.test(key))).toEqual([]);
    if (!script) return;
    const foreign = [...texts].filter(([key, text]) => !script.test(text) && /\p{L}{4}/u.test(text) && !/title|hash|direction/.test(key));
    expect(foreign).toEqual([]);
  });
});

const source = (path: string): string => readFileSync(join(import.meta.dirname, "../../../src/pocketcxr", path), "utf8");

describe("failed criteria", () => {
  it("are named in English as in Python's criteria and reports, and every one has a meaning for an image", () => {
    const criteria = source("audit/criteria.toml").split("[[criterion]]").slice(1);
    const field = (text: string, name: string): string => new RegExp(`^${name} = "(.*)"$`, "m").exec(text)![1]!;
    expect(Object.fromEntries(criteria.map((text) => [field(text, "key"), field(text, "fault")]))).toEqual(CRITERIA.en.faults);
    const meanings = source("bundle/failures.py").split("MEANINGS: ")[1]!.split("\n)\n")[0]!.replace(/"\n\s*"/g, "");
    const said = [...meanings.matchAll(/"(\w+)": \(?\s*"(.*)"/g)].map(([, kind, text]) => [kind, text]);
    expect(Object.fromEntries(said)).toEqual(CRITERIA.en.meanings);
    for (const text of criteria) expect(Object.keys(CRITERIA.en.meanings)).toContain(field(text, "meaning"));
  });

  it.each(codes)("are translated, every one: %s", (code) => {
    const [own, english_] = [flatten(CRITERIA[code]), flatten(CRITERIA.en)];
    expect([...own.keys()]).toEqual([...english_.keys()]);
    expect([...own].filter(([key, text]) => text.trim() === "" || (code !== "en" && text === english_.get(key)))).toEqual([]);
  });
});

describe("reason codes", () => {

  it("are those that Python gives, and those of the learned input filter's kinds", () => {
    const given = ["imaging/input_checks.py", "inference/predictor.py", "inference/deciding.py"].flatMap((path) =>
      [...source(path).matchAll(/Reason\(\s*"([\w-]+)"/g)].map((match) => match[1]!),
    );
    const table = /INPUT_KINDS[^=]*= MappingProxyType\(\s*\{([^}]*)\}/.exec(source("labels.py"))![1]!;
    const kinds = [...table.matchAll(/^ {8}"(\w+)":/gm)].map((match) => match[1]!).filter((kind) => kind !== "frontal");
    expect(given.length).toBeGreaterThan(10);
    expect(kinds).toContain("lateral");
    expect([...new Set([...given, ...kinds, "internal"])].sort()).toEqual([...REASON_CODES].sort());
  });
});

describe("findings", () => {
  it("of the vocabulary all have a name in every language", () => {
    const table = /\nFINDINGS: [^=]*= MappingProxyType\(\s*\{([^}]*)\}/.exec(source("vocabulary.py"))![1]!;
    expect([...table.matchAll(/^ {8}"(\w+)":/gm)].map((match) => match[1]!)).toEqual(FINDINGS);
    for (const code of codes) for (const one of FINDINGS) expect(findingName(one, code)).not.toMatch(/_|^$/);
    expect(findingName("my_own", "es")).toBe("my_own");
  });
});

describe("notes on reading", () => {
  const web = (path: string): string => readFileSync(join(import.meta.dirname, "../../src/core", path), "utf8");

  it("that the core makes all have words in every language", () => {
    const sources = ["dicom/dicom.ts", "dicom/grey-scale.ts", "raster/raster.ts"].map(web).join("\n");
    const made = [...sources.matchAll(/(?:notes(?:\.push\(|: \[| = .*?\? \[)|spread\(.*, |fromColours\(.*, |: \[)(["`])((?:(?!\1).)+)\1/g)].map((match) => match[2]!);
    const notes = made.map((text) => text.replace("${kind}", "LINEAR").replace(/\$\{[^}]*\}/g, "7"));
    expect(new Set(notes).size).toBe(15); // "window 1 of …" is one
    const { number } = localeOf("en");
    for (const code of codes) for (const note of notes) expect(noteText(note, code, number), note).toMatch(/^[^$]+$/);
    expect(noteText("window 1 of 1: LINEAR 550/1024", "en", number)).toBe("shown with the window of the file: centre 550, width 1,024 (first of 1)");
    expect(noteText("rescaled by 0.5, -1024", "fa", localeOf("fa", ["fa"]).number)).toMatch(/۰٫۵/);
    expect(noteText("something else", "es", number)).toBeNull();
  });
});

describe("choice of language", () => {
  it("takes the first that the page speaks", () => {
    expect(bestLanguage(["de-DE", "fa-IR", "en"])).toBe("fa");
    expect(bestLanguage(["zh-TW"])).toBe("zh");
    expect(bestLanguage(["de"])).toBe("en");
    expect(bestLanguage([])).toBe("en");
  });
});

describe("numbers", () => {
  it("never shows a false certainty", () => {
    const { percent } = localeOf("en");
    expect(percent(0.99996)).toBe(">99.9%");
    expect(percent(0.00001)).toBe("<0.1%");
    expect(percent(1)).toBe("100%");
    expect(percent(0.683)).toBe("68%");
    expect(percent(0.038)).toBe("3.8%");
  });

  it("writes Persian digits in Persian", () => {
    expect(localeOf("fa").percent(0.68)).toMatch(/^\u200e?۶۸/);
    expect(localeOf("fa").number(1820)).toMatch(/[۰-۹]/);
    expect(localeOf("fa").number(1820)).not.toMatch(/[0-9]/);
  });

  it("and dates are written as in the user's country", () => {
    const moment = new Date(2026, 10, 29, 13, 5);
    expect(localeOf("en", ["fr-FR", "en-GB"]).date(moment)).toMatch(/^29 November 2026.*13:05$/);
    expect(localeOf("en", ["en-US"]).date(moment)).toMatch(/^November 29, 2026.*1:05\sPM$/);
    expect(localeOf("es", ["es-MX"]).number(1234.5, 1)).toBe("1,234.5");
    expect(localeOf("es", ["es-ES"]).number(12345.5, 1)).toBe("12.345,5");
    expect(localeOf("fa", ["fa-IR"]).number(1820)).not.toMatch(/[0-9]/);
  });

  it("shows a label that it does not know as the bundle writes it", () => {
    expect(localeOf("es").label("constructor")).toBe("constructor");
  });
});
