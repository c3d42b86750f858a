/** State of the page; panels listen to the parts that they show. */

import type { Engine, Prediction, Reason } from "../core/api";
import type { Locale } from "../locales";

/** One file of the list. The bytes stay in the browser's file; the picture is read again when it is shown. */
export interface Entry {
  readonly id: number;
  readonly name: string;
  readonly blob: Blob;
  readonly state: "waiting" | "working" | "answered" | "failed";
  readonly prediction: Prediction | null;
  readonly failure: Reason | null;
  /** Of the file's bytes; null where the page is not in a secure context. */
  readonly sha256: string | null;
}

export type ModelState =
  | { readonly kind: "loading"; readonly loaded: number; readonly total: number }
  | { readonly kind: "ready"; readonly engine: Engine }
  | { readonly kind: "failed"; readonly message: string };

export interface State {
  readonly locale: Locale;
  readonly model: ModelState;
  readonly entries: readonly Entry[];
  readonly selected: number | null;
  /** Name of the operating point in use; empty until the model is there. */
  readonly point: string;
  /** Share of patients who have the positive class, 0 to 1. */
  readonly prevalence: number;
  readonly heatmap: { readonly shown: boolean; readonly opacity: number };
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

export function engineOf(state: State): Engine | null {
  return state.model.kind === "ready" ? state.model.engine : null;
}
