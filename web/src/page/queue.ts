/** Answers the files of the list one after another; a file that fails takes no other with it. */

import { InputError, type Picture, type Reason } from "../core/api";
import { engineOf, type Entry, type Store } from "./state";
import { thumbnailOf } from "./worklist/thumbnail";

const INTERNAL = "internal";
const KEPT_PICTURES = 2; // an image of 3000 x 3000 takes 72 MB, a phone has little more

export interface Queue {
  /** Put files at the end of the list and select the first of them. */
  add(files: readonly { name: string; blob: Blob }[]): void;
  /** Take files from the list; `undo` puts back what the last removal took. */
  remove(ids: readonly number[]): void;
  undo(): void;
  /** The pixels of a file that was answered; read again where they were let go. */
  picture(entry: Entry): Promise<Picture>;
}

/** @param restart opens the model again, after which waiting files go on. */
export function startQueue(store: Store, restart: () => void): Queue {
  const broken = new Set<number>(); // files on which the program failed once
  const pictures = new Map<number, Picture>();
  let nextId = 1;
  let busy = false;

  function keep(id: number, picture: Picture): void {
    pictures.delete(id);
    pictures.set(id, picture);
    for (const old of [...pictures.keys()].slice(0, -KEPT_PICTURES)) pictures.delete(old);
  }

  async function work(): Promise<void> {
    if (busy) return;
    busy = true;
    for (;;) {
      const engine = engineOf(store.state);
      const { entries, selected } = store.state; // what the user looks at comes first
      const entry = entries.find((one) => one.state === "waiting" && one.id === selected) ?? entries.find((one) => one.state === "waiting");
      if (!engine || !entry) break;
      store.update(entry.id, { state: "working" });
      try {
        const bytes = await entry.blob.arrayBuffer();
        const hashed = hashOf(bytes); // takes its copy of the bytes at once, and works while the file is read
        const picture = await engine.read(entry.name, bytes);
        keep(entry.id, picture);
        const prediction = await engine.predict(picture);
        store.update(entry.id, { state: "answered", prediction, thumbnail: thumbnailOf(picture), sha256: await hashed });
      } catch (error) {
        const failure = reasonOf(error);
        const again = failure.code === INTERNAL && !broken.has(entry.id);
        store.update(entry.id, again ? { state: "waiting" } : { state: "failed", failure });
        if (failure.code !== INTERNAL) continue;
        broken.add(entry.id); // a second time, and it is given up: the others shall not wait for ever
        busy = false;
        restart(); // memory may have run out, and then no later file would be answered
        return;
      }
    }
    busy = false;
  }

  store.on(["model", "entries"], () => void work());

  return {
    add(files) {
      if (files.length === 0) return;
      const added = files.map(({ name, blob }): Entry => {
        const id = nextId++;
        return { id, name, blob, state: "waiting", prediction: null, failure: null, thumbnail: null, sha256: null };
      });
      store.set({ entries: [...store.state.entries, ...added], selected: added[0]!.id });
    },
    remove(ids) {
      const { entries, selected, beside } = store.state;
      const gone = new Set(ids);
      const left = entries.filter((entry) => !gone.has(entry.id));
      for (const id of ids) pictures.delete(id);
      const position = entries.findIndex((entry) => entry.id === selected);
      const neighbour = entries.slice(position).find((entry) => !gone.has(entry.id)) ?? left.at(-1);
      store.set({
        entries: left,
        removed: entries.filter((entry) => gone.has(entry.id)),
        selected: selected !== null && gone.has(selected) ? (neighbour?.id ?? null) : selected,
        beside: beside !== null && gone.has(beside) ? null : beside,
      });
    },
    undo() {
      const back = store.state.removed.map((entry): Entry => (entry.state === "working" ? { ...entry, state: "waiting" } : entry));
      const entries = [...back, ...store.state.entries].sort((a, b) => a.id - b.id);
      store.set({ entries, removed: [], selected: store.state.selected ?? back[0]?.id ?? null });
    },
    async picture(entry) {
      const kept = pictures.get(entry.id);
      if (kept) return kept;
      const engine = engineOf(store.state);
      if (!engine) throw new Error("no model");
      const picture = await engine.read(entry.name, await entry.blob.arrayBuffer());
      keep(entry.id, picture);
      return picture;
    },
  };
}

function reasonOf(error: unknown): Reason {
  if (error instanceof InputError) return { code: error.category, cause: error.code, detail: error.detail };
  if (error instanceof DOMException && error.name === "NotReadableError") return reasonOf(new InputError("no-permission"));
  return { code: INTERNAL, detail: error instanceof Error ? error.message : String(error) };
}

async function hashOf(bytes: ArrayBuffer): Promise<string | null> {
  if (!globalThis.crypto?.subtle) return null; // plain http beyond this computer
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
