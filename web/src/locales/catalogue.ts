import type { Cause } from "../core/api";

/** The shape of every language's texts; a missing key does not compile. Numbers arrive written in the language's own digits. */
export interface Texts {
  /** The language's own name, for the menu. */
  readonly language: string;
  readonly direction: "ltr" | "rtl";

  readonly app: {
    readonly title: string;
    readonly tagline: string;
    readonly researchOnly: string;
    readonly privacy: string;
    readonly skip: string;
    readonly menuLanguage: string;
    readonly theme: string;
    readonly themes: { readonly system: string; readonly light: string; readonly dark: string };
    /** What was written by others in English is introduced with this. */
    readonly original: string;
  };

  readonly audit: {
    readonly heading: string;
    readonly body: string;
    readonly details: string;
    /** After the name of a criterion. */
    readonly failed: string;
  };

  readonly model: {
    readonly loading: string;
    readonly progress: (loaded: string, total: string) => string;
    readonly ready: string;
    readonly failed: string;
    readonly failedHelp: string;
    readonly retry: string;
  };

  readonly fileInput: {
    readonly heading: string;
    readonly drop: string;
    readonly choose: string;
    readonly photograph: string;
    readonly photographNote: string;
    readonly example: string;
    readonly formats: string;
    readonly dropHere: string;
    readonly nothingPasted: string;
  };

  readonly files: {
    readonly heading: string;
    readonly progress: (done: string, all: string) => string;
    readonly waiting: string;
    readonly working: string;
    readonly unreadable: string;
    readonly remove: (name: string) => string;
    readonly removeAll: string;
    readonly drawing: string;
    readonly pasted: (number: string) => string;
    readonly answered: (name: string, answer: string) => string;
  };

  readonly viewer: {
    readonly heading: string;
    readonly empty: string;
    readonly loading: string;
    /** Name of the canvas for a screen reader. */
    readonly picture: (name: string, width: string, height: string) => string;
    readonly help: string;
    readonly keys: string;
    readonly tools: string;
    readonly drag: string;
    readonly dragWindow: string;
    readonly dragMove: string;
    readonly zoomIn: string;
    readonly zoomOut: string;
    readonly fit: string;
    readonly invert: string;
    readonly reset: string;
    readonly level: string;
    readonly width: string;
    readonly preset: string;
    readonly presets: {
      readonly file: string;
      readonly full: string;
      readonly lungs: string;
      readonly bones: string;
      readonly contrast: string;
      readonly custom: string;
    };
    readonly zoomState: (percent: string) => string;
    readonly metadata: string;
  };

  readonly heatmap: {
    readonly heading: string;
    readonly show: string;
    readonly class: string;
    readonly opacity: string;
    readonly none: string;
    readonly strong: string;
    readonly meaning: (name: string) => string;
    readonly absent: string;
  };

  readonly answer: {
    readonly heading: string;
    readonly empty: string;
    readonly waiting: string;
    readonly decided: (name: string) => string;
    readonly decidedHelp: (coverage: string) => string;
    readonly uncertain: string;
    readonly uncertainHelp: string;
    readonly stillPossible: string;
    readonly nonePossible: string;
    readonly needed: string;
    readonly neededProbability: (needed: string, coverage: string) => string;
    readonly neededElse: readonly string[];
    readonly refused: string;
    readonly refusedNovel: string;
    readonly refusedKind: string;
    readonly refusedQuality: string;
    readonly refusedHelp: string;
    readonly failed: string;
    readonly failedHelp: string;
    readonly reasons: string;
    readonly milliseconds: (read: string, predict: string) => string;
  };

  readonly probabilities: {
    readonly heading: string;
    /** Of 100 pictures with this probability, about so many. */
    readonly of100: (count: string, name: string) => string;
    readonly measured: (gap: string, images: string) => string;
    readonly notMeasured: string;
    readonly onlyAlike: string;
    readonly sum: string;
  };

  readonly operatingPoints: {
    readonly heading: string;
    readonly purpose: string;
    readonly names: Readonly<Record<string, string>>;
    readonly explained: Readonly<Record<string, string>>;
    readonly positive: (name: string, probability: string, threshold: string) => string;
    readonly negative: (name: string, probability: string, threshold: string) => string;
    /** Where operating point and result name different classes. */
    readonly differs: string;
    readonly sensitivity: string;
    readonly specificity: string;
    readonly chosenOn: string;
    readonly prevalence: string;
    readonly prevalenceHelp: string;
    readonly ppv: string;
    readonly npv: string;
    readonly ppvHelp: (name: string) => string;
    readonly npvHelp: (name: string) => string;
    /** In a thousand people. */
    readonly thousand: (ill: string, found: string, missed: string, alarms: string) => string;
    readonly caution: string;
    readonly absent: string;
  };

  readonly about: {
    readonly heading: string;
    readonly isFor: string;
    readonly isForBody: string;
    readonly isNotFor: string;
    readonly isNotForBody: readonly string[];
    readonly manifestHeading: string;
    readonly intendedUse: string;
    readonly limits: string;
    readonly licence: string;
    readonly otherLicences: string;
    readonly identity: string;
    readonly version: string;
    readonly created: string;
    readonly hash: string;
    readonly threads: (count: string) => string;
    readonly noteThreads: string;
    readonly privacyHeading: string;
    readonly privacyBody: readonly string[];
  };

  readonly report: {
    readonly heading: string;
    readonly intro: string;
    readonly patient: string;
    readonly notes: string;
    readonly includeName: string;
    readonly print: string;
    readonly save: string;
    readonly title: string;
    readonly made: string;
    readonly file: string;
    readonly fileHash: string;
    readonly answer: string;
    readonly footer: string;
    readonly pictureCaption: string;
    readonly pictureWithMap: (name: string) => string;
  };

  readonly offline: {
    readonly ready: string;
    readonly update: string;
    readonly updateModel: (name: string) => string;
    readonly reload: string;
    readonly later: string;
    readonly offline: string;
  };

  /** Names of classes; other labels are shown as the bundle writes them. */
  readonly labels: Readonly<Record<string, string>>;

  /** Why a file is not scored, or has no single class, by code. */
  readonly reasons: Readonly<Record<ReasonCode | Cause, string>>;
}

/** Codes of refusals and uncertain results (Python: `Reason.code`); `CAUSES` holds those of files that cannot be used. */
export const REASON_CODES = [
  "too-small", "aspect", "blank", "low-contrast", "coloured", "modality", "body-part", "view", "orientation",
  "novel", "several-classes", "no-class",
  "lateral", "ct", "not_xray", "inverted", "cropped", "other_part", "turned",
  "internal",
] as const;

export type ReasonCode = (typeof REASON_CODES)[number];

export const LABELS = ["normal", "pneumonia", "covid19", "other", "negative", "typical"] as const;
