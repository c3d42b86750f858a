/** What the page and the core exchange: manifest, images, predictions, engine. */

import type { Cause } from "./errors";

/** How a grey-scale picture in [0, 1] becomes the network's input (Python: `bundle.manifest.Preprocessing`). */
export interface Preprocessing {
  size: number;
  aspect: "squash" | "pad";
  resampling: string;
  polarity: string;
}

/** A threshold on the probability of `label`, the set it was chosen on, and what it reached there (0 to 1). */
export interface OperatingPoint {
  name: string;
  label: string;
  threshold: number;
  sensitivity: number;
  specificity: number;
  chosen_on: string;
}

/** What was fitted for one finding of a bundle whose images may have several (Python: `FindingCalibration`). */
export interface FindingCalibration {
  label: string;
  temperature: number;
  conformal_quantile: number;
}

/** What stays in a finding's own prediction set. */
export type FindingDecision = "present" | "absent" | "uncertain";

/** Kinds of images that the learned input filter tells apart; absent in older bundles. */
export interface InputFilter {
  kinds: string[];
  accept: string;
  threshold: number;
  words: Record<string, string>;
}

/** The metadata of a bundle, named as in its JSON; `labels` fixes the order of classes in every output. */
export interface Manifest {
  name: string;
  version: string;
  created: string;
  task: string;
  labels: string[];
  positive: string;
  preprocessing: Preprocessing;
  temperature: number;
  conformal_quantile: number;
  conformal_coverage: number;
  operating_points: OperatingPoint[];
  licence: string;
  intended_use: string;
  limits: string[];
  metrics: Record<string, unknown>;
  data: Record<string, unknown>;
  teacher: Record<string, unknown>;
  run: Record<string, unknown>;
  format_version: number;
  input_gate?: InputFilter | null;
  /** One per label, in their order, where images may have several findings; absent where classes exclude each other. */
  findings?: FindingCalibration[];
}

/**
 * Why an image is not scored: the `code` of the Python package's record, for a file that cannot be used its `cause`, and
 * a `detail` of values that need no translation. The page has a text for every cause and code.
 */
export interface Reason {
  code: string;
  cause?: Cause;
  detail?: string;
}

/** Millimetres from one pixel's centre to the next. */
export interface Spacing {
  /** Down, from row to row. */
  row: number;
  /** Across, from column to column. */
  column: number;
  /** Corrected for the magnification of the projection; where not, millimetres at the detector. */
  calibrated: boolean;
}

/** A grey-scale picture as read, MONOCHROME2 polarity: air dark, bone bright. */
export interface Picture {
  name: string;
  width: number;
  height: number;
  /** height * width in [0, 1], row by row: what the network sees before the resize. */
  pixels: Float32Array;
  /** Values for window level: after the modality stage of DICOM; of other files the pixels themselves, the same array. */
  values: Float32Array;
  /**
   * As shown at first, in `values`: grey = (value - centre) / width + 1/2, clipped to [0, 1].
   * Where `inverted`, 1 - grey (MONOCHROME1).
   */
  window: { centre: number; width: number; inverted: boolean };
  format: "dicom" | "png" | "jpeg" | "bmp" | "webp";
  /** Null where the file states none, `damaged` where it states one that cannot be. */
  spacing: Spacing | "damaged" | null;
  /** Metadata that identify nobody: modality, view position, body part, transfer syntax, bits, notes. */
  metadata: Record<string, string>;
}

/** One answer. */
export interface Prediction {
  path: string;
  /**
   * A label, `uncertain` or `refused`; of several findings those that are present with `|` between them, `uncertain`
   * where none is and some may be, or `none`.
   */
  decision: string;
  /** By label, of a bundle of several findings; empty for others and where the picture was refused. */
  findings: Record<string, FindingDecision>;
  /** 0 to 1, calibrated; empty where the picture was refused. */
  probabilities: Record<string, number>;
  /** 1 at the bundle's cut-off; null where the network was not asked. */
  novelty: number | null;
  /** The learned input filter's probability of a picture to answer; null where it was not asked. */
  accepted?: number | null;
  reasons: Reason[];
  bundle: string;
  /** Class activation maps in logit units, one per label, row by row. */
  saliency: { rows: number; columns: number; maps: Record<string, Float32Array> } | null;
  milliseconds: { read: number; predict: number };
}

export interface Engine {
  readonly manifest: Manifest;
  /** The hash that the bundle carries, 64 hexadecimal digits. */
  readonly sha256: string;
  /** Name, version and the start of the hash, as written beside every prediction. */
  readonly identity: string;
  /** Threads in use: 1 where the page is not cross-origin isolated. */
  readonly threads: number;
  /** @throws {InputError} where Python refuses the file, too, with the same code. */
  read(name: string, bytes: ArrayBuffer): Promise<Picture>;
  predict(picture: Picture): Promise<Prediction>;
  close(): void;
}

export interface OpenOptions {
  modelUrl: string;
  threads?: number | "auto";
  onProgress?: (loaded: number, total: number) => void;
}
