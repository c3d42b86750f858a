/** The language in use: chosen by the menu before, else by the browser; and numbers written in its digits. */

import type { Texts } from "./catalogue";
import { en } from "./en";
import { es } from "./es";
import { fa } from "./fa";
import { findingName } from "./findings";
import { zh } from "./zh";
import { en as criteriaEn, type CriterionTexts } from "./criteria/en";
import { es as criteriaEs } from "./criteria/es";
import { fa as criteriaFa } from "./criteria/fa";
import { zh as criteriaZh } from "./criteria/zh";

export const LANGUAGES = { en, es, fa, zh } as const satisfies Record<string, Texts>;
export type Language = keyof typeof LANGUAGES;

/** What is wrong where a criterion of the audit fails, and what it means for an image. */
export const CRITERIA: Readonly<Record<Language, CriterionTexts>> = { en: criteriaEn, es: criteriaEs, fa: criteriaFa, zh: criteriaZh };

/** How a language writes numbers and dates: in the user's country, where the browser names one; Chinese as its texts are. */
function formatOf(code: Language, wanted: readonly string[]): string {
  if (code === "zh") return "zh-Hans";
  const tag = wanted.find((one) => one.toLowerCase().split("-")[0] === code) ?? code;
  return code === "fa" ? `${tag.split("-u-")[0]}-u-nu-arabext` : tag;
}

export function isLanguage(code: string): code is Language {
  return Object.hasOwn(LANGUAGES, code);
}

/** First language of the list that the page speaks; English where it speaks none. */
export function bestLanguage(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const code = tag.toLowerCase().split("-")[0] ?? "";
    if (isLanguage(code)) return code;
  }
  return "en";
}

/** Texts and number formats of one language. */
export interface Locale {
  readonly code: Language;
  readonly texts: Texts;
  readonly criteria: CriterionTexts;
  /** A whole number, or with so many decimals. */
  number(value: number, decimals?: number): string;
  /** A share of one as per cent: whole numbers, one decimal below 1 % and above 99 %; never a false 0 % or 100 %. */
  percent(share: number): string;
  /** Per cent with one decimal: a probability just below a threshold must not look equal to it. */
  precise(share: number): string;
  date(moment: Date): string;
  /** Names in a row, "A and B". */
  list(names: readonly string[]): string;
  label(label: string): string;
  point(name: string): string;
}

export function localeOf(code: Language, wanted: readonly string[] = globalThis.navigator?.languages ?? []): Locale {
  const texts: Texts = LANGUAGES[code];
  const locale = formatOf(code, wanted);
  const number = (value: number, decimals = 0): string =>
    new Intl.NumberFormat(locale, { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).format(value);
  const percentFormat = (decimals: number): Intl.NumberFormat =>
    new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: decimals });
  return {
    code,
    texts,
    criteria: CRITERIA[code],
    number,
    percent(share) {
      if (share > 0 && share < 0.001) return `<${percentFormat(1).format(0.001)}`;
      if (share < 1 && share > 0.999) return `>${percentFormat(1).format(0.999)}`;
      return percentFormat(share < 0.0995 || share > 0.9905 ? 1 : 0).format(share);
    },
    precise: (share) =>
      new Intl.NumberFormat(locale, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share),
    date: (moment) => new Intl.DateTimeFormat(locale, { dateStyle: "long", timeStyle: "short" }).format(moment),
    list: (names) => new Intl.ListFormat(locale, { type: "conjunction" }).format(names),
    label: (label) => (Object.hasOwn(texts.labels, label) ? texts.labels[label]! : label),
    point: (name) => (Object.hasOwn(texts.operatingPoints.names, name) ? texts.operatingPoints.names[name]! : name),
  };
}

/** The same for a model of several findings, where `pneumonia` is a finding by itself and no class beside others. */
export function ofFindings(locale: Locale): Locale {
  return { ...locale, label: (label) => findingName(label, locale.code) };
}
