/** What a called or an uncalled picture means at a prevalence: Bayes' rule on sensitivity and specificity. */

export interface PredictiveValues {
  /** Chance of having it when called; null where nobody would be called. */
  readonly positive: number | null;
  /** Chance of not having it when not called; null where everybody would be called. */
  readonly negative: number | null;
  /** Whole people of a thousand. */
  readonly ill: number;
  readonly found: number;
  readonly missed: number;
  readonly alarms: number;
}

const THOUSAND = 1000;

/** All arguments are shares, 0 to 1. */
export function predictiveValues(prevalence: number, sensitivity: number, specificity: number): PredictiveValues {
  const found = prevalence * sensitivity;
  const missed = prevalence * (1 - sensitivity);
  const alarms = (1 - prevalence) * (1 - specificity);
  const cleared = (1 - prevalence) * specificity;
  const ill = Math.round(THOUSAND * prevalence);
  const foundPeople = Math.min(ill, Math.round(THOUSAND * found));
  return {
    positive: found + alarms > 0 ? found / (found + alarms) : null,
    negative: missed + cleared > 0 ? cleared / (missed + cleared) : null,
    ill,
    found: foundPeople,
    missed: ill - foundPeople, // so that the two add up
    alarms: Math.round(THOUSAND * alarms),
  };
}

/** A probability that holds where the disease has one prevalence, at another: Bayes' rule on the odds. All 0 to 1. */
export function atPrevalence(probability: number, from: number, to: number): number {
  const ill = probability * (to / from);
  const others = (1 - probability) * ((1 - to) / (1 - from));
  return ill / (ill + others);
}

const LOWEST = 0.001;
const HIGHEST = 0.9;
export const PREVALENCE_STEPS = 100;

/** Slider to prevalence: even steps of the odds, because 0.1 % and 1 % differ as 10 % and 50 % do. */
export function prevalenceAt(step: number): number {
  const low = Math.log(LOWEST / (1 - LOWEST));
  const high = Math.log(HIGHEST / (1 - HIGHEST));
  const odds = Math.exp(low + ((high - low) * step) / PREVALENCE_STEPS);
  return rounded(odds / (1 + odds));
}

export function stepOf(prevalence: number): number {
  const low = Math.log(LOWEST / (1 - LOWEST));
  const high = Math.log(HIGHEST / (1 - HIGHEST));
  const at = (Math.log(prevalence / (1 - prevalence)) - low) / (high - low);
  return Math.round(Math.min(1, Math.max(0, at)) * PREVALENCE_STEPS);
}

function rounded(share: number): number {
  const digits = share < 0.0095 ? 1000 : share < 0.0995 ? 200 : 100; // tenths, halves, whole per cent
  return Math.round(share * digits) / digits;
}
