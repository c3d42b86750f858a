/** State of the page; panels listen to the parts that they show. */

import type { Engine, Manifest, Prediction, Reason } from "../core/api";
import { localeOf, ofFindings, type Language, type Locale } from "../locales";

/** One file of the list. The bytes stay in the browser's file; the picture is read again when it is shown. */
export interface Entry {
  readonly id: number;
  readonly name: string;
  readonly blob: Blob;
  readonly state: "waiting" | "working" | "answered" | "failed";
  readonly prediction: Prediction | null;
  readonly failure: Reason | null;
  /** A small copy of the picture; null until it is read. */
  readonly thumbnail: ImageData | null;
  /** Of the file's bytes; null where the page is not in a secure context. */
  readonly sha256: string | null;
}

export type ModelState =
  | { readonly kind: "loading"; readonly loaded: number; readonly total: number }
  | { readonly kind: "ready"; readonly engine: Engine }
  | { readonly kind: "failed"; readonly message: string };

/** Off until it is asked for: `held` while a key or button is down, `shown` until it is switched off. */
export interface Heatmap {
  readonly shown: boolean;
  readonly held: boolean;
  readonly opacity: number;
  /** The class that was chosen; null for the decided one. */
  readonly label: string | null;
}

/** Sorting and filters of the worklist. */
export interface Order {
  readonly by: "added" | "name" | "result" | "highest" | "lowest";
  /** What `resultOf` gives; empty for all. */
  readonly result: string;
  /** Least probability of the positive class or of the finding, 0 to 1. */
  readonly least: number;
}

export interface State {
  readonly locale: Locale;
  readonly model: ModelState;
  readonly entries: readonly Entry[];
  readonly selected: number | null;
  /** Name of the operating point in use; empty until the model is there. */
  readonly point: string;
  /** Share of patients who have a class or finding, 0 to 1, by its label, where the reader has set one (`prevalenceOf`). */
  readonly prevalences: Readonly<Record<string, number>>;
  /** Of several findings the one that the reader looks at; null for the most probable of each image. */
  readonly finding: string | null;
  readonly heatmap: Heatmap;
  /** The file whose image is shown beside that of the selected one. */
  readonly beside: number | null;
  readonly order: Order;
  /** What the last removal took from the list; it can be put back. */
  readonly removed: readonly Entry[];
  /** Typed for the report by the user. */
  readonly typed: { readonly patient: string; readonly notes: string; readonly withName: boolean };
}

type Listener = (state: State) => void;

export class Store {
  #state: State;
  readonly #listeners: { keys: ReadonlySet<keyof State>; listener: Listener }[] = [];

  constructor(state: State) {
    this.#state = state;
  }

  get state(): State {
    return this.#state;
  }

  /** Call `listener` after any of `keys` changed. */
  on(keys: readonly (keyof State)[], listener: Listener): void {
    this.#listeners.push({ keys: new Set(keys), listener });
  }

  set(patch: Partial<State>): void {
    const changed = (Object.keys(patch) as (keyof State)[]).filter((key) => patch[key] !== this.#state[key]);
    if (changed.length === 0) return;
    this.#state = { ...this.#state, ...patch };
    for (const { keys, listener } of this.#listeners) {
      if (changed.some((key) => keys.has(key))) listener(this.#state);
    }
  }

  update(id: number, patch: Partial<Entry>): void {
    this.set({ entries: this.#state.entries.map((entry) => (entry.id === id ? { ...entry, ...patch } : entry)) });
  }
}

export function selectedEntry(state: State): Entry | null {
  return state.entries.find((entry) => entry.id === state.selected) ?? null;
}

/** Call `listener` when another file is selected, or the selected one has changed; not when others of the list have. */
export function onSelectedEntry(store: Store, listener: () => void): void {
  let seen: Entry | null | undefined;
  store.on(["entries", "selected"], (state) => {
    const entry = selectedEntry(state);
    if (entry === seen) return;
    seen = entry;
    listener();
  });
}

export function engineOf(state: State): Engine | null {
  return state.model.kind === "ready" ? state.model.engine : null;
}

/** A language, with the names of labels that fit the model. */
export function localeIn(code: Language, manifest: Manifest | undefined): Locale {
  return manifest?.findings ? ofFindings(localeOf(code)) : localeOf(code);
}
