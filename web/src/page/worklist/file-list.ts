/** The worklist: every file with its thumbnail and answer; choosing one shows its image and result. */

import { SIGNS, shortAnswer, toneOf } from "../answers";
import { fill, h, isolated } from "../dom";
import type { Queue } from "../queue";
import { engineOf, type Entry, type Store } from "../state";
import { makeListTools } from "./list-tools";
import { listed, listedLabel, probabilityOf } from "./order";

export function makeFileList(store: Store, queue: Queue): HTMLElement {
  const element = h("section", { class: "panel files", "aria-labelledby": "files-heading" });
  const list = h("ul", {});
  const items = new Map<number, { entry: Entry; share: string; item: HTMLLIElement }>();
  const bar = h("progress", { max: 1, value: 0, "aria-labelledby": "files-progress" });
  const count = h("p", { id: "files-progress", class: "note" });
  const shown = h("p", { class: "note", role: "status" });
  const removed = h("p", { class: "removed", role: "status" });
  const tools = makeListTools(store);
  const all = h("button", { type: "button", class: "quiet remove-all", on: { click: removeAll } });

  function build(): void {
    const { texts } = store.state.locale;
    all.textContent = texts.files.removeAll;
    items.clear();
    fill(list);
    fill(element, h("h2", { id: "files-heading" }, texts.files.heading), bar, count, tools.element, shown, list, all, removed);
    refresh();
    showRemoved();
  }

  function removeAll(): void {
    queue.remove(store.state.entries.map((entry) => entry.id));
    removed.querySelector("button")?.focus();
  }

  function showRemoved(): void {
    const { removed: gone, locale } = store.state;
    const { texts } = locale;
    fill(
      removed,
      gone.length > 0 && [
        texts.files.removed(locale.number(gone.length)), " ",
        h("button", { type: "button", on: { click: undo } }, texts.files.undo),
      ],
    );
    removed.hidden = gone.length === 0;
  }

  function undo(): void {
    queue.undo();
    list.querySelector<HTMLElement>("button[aria-current]")?.focus();
  }

  function refresh(): void {
    const { entries, locale, removed: gone } = store.state;
    element.hidden = entries.length === 0 && gone.length === 0;
    for (const part of [count, tools.element, all, list]) part.hidden = entries.length === 0;
    const done = entries.filter((entry) => entry.state === "answered" || entry.state === "failed").length;
    bar.max = Math.max(1, entries.length);
    bar.value = done;
    bar.hidden = done === entries.length;
    count.textContent = locale.texts.files.progress(locale.number(done), locale.number(entries.length));
    const visible = listed(store.state);
    shown.textContent = visible.length < entries.length ? locale.texts.files.shown(locale.number(visible.length), locale.number(entries.length)) : "";
    tools.refresh();
    const present = new Set(visible.map((entry) => entry.id));
    for (const [id, { item }] of items) {
      if (present.has(id)) continue;
      item.remove();
      items.delete(id);
    }
    visible.forEach((entry, position) => {
      const known = items.get(entry.id);
      const item = known?.item ?? h("li", {});
      const share = shareOf(entry);
      if (known?.entry !== entry || known.share !== share.join()) { // entries are replaced, never changed
        const focused = item.contains(document.activeElement);
        fill(item, ...lineOf(entry, share));
        if (focused) item.querySelector("button")?.focus();
        items.set(entry.id, { entry, share: share.join(), item });
      }
      const here = list.children[position];
      if (here !== item) list.insertBefore(item, here ?? null);
    });
    mark();
  }

  /** Label and probability that a line shows; empty where there is none. */
  function shareOf(entry: Entry): readonly string[] {
    const { locale, finding } = store.state;
    const manifest = engineOf(store.state)?.manifest;
    const label = manifest ? listedLabel(entry, manifest, finding) : null;
    if (!manifest || label === null) return [];
    const decision = finding !== null && entry.prediction!.findings[finding];
    return [locale.label(label), locale.percent(probabilityOf(entry, manifest, store.state)!), ...(decision ? [locale.texts.findings.decisions[decision]] : [])];
  }

  function lineOf(entry: Entry, [label, percent, decision]: readonly string[]): HTMLElement[] {
    const { locale } = store.state;
    const tone = toneOf(entry);
    const small = (text: string, label: string, name: string, act: () => void): HTMLElement =>
      h("button", { type: "button", class: `tool ${name}`, "aria-label": label, title: label, on: { click: act } }, text);
    return [
      h(
        "button", { type: "button", class: "file", on: { click: () => store.set({ selected: entry.id }) } },
        thumbnailOf(entry),
        h("span", { class: "name" }, isolated(entry.name)),
        h("span", { class: "state" }, h("span", { class: `sign ${tone}`, "aria-hidden": "true" }, SIGNS[tone]), shortAnswer(entry, locale)),
        label && h("span", { class: "share" }, isolated(label), ` ${percent}`, decision && `, ${decision}`),
      ),
      entry.state === "answered" &&
        small("◫", locale.texts.files.beside(entry.name), "beside", () => {
          store.set({ beside: store.state.beside === entry.id ? null : entry.id });
        }),
      small("×", locale.texts.files.remove(entry.name), "remove", () => {
        queue.remove([entry.id]);
        (list.querySelector<HTMLElement>("button[aria-current]") ?? removed.querySelector("button"))?.focus();
      }),
    ].filter((part) => part !== false);
  }

  function mark(): void {
    const { selected, beside } = store.state;
    for (const [id, { item }] of items) {
      const file = item.querySelector(".file");
      if (id === selected) file?.setAttribute("aria-current", "true");
      else file?.removeAttribute("aria-current");
      const second = item.querySelector<HTMLButtonElement>(".beside");
      second?.setAttribute("aria-pressed", String(id === beside));
      if (second) second.disabled = id === selected;
    }
  }

  store.on(["entries", "order", "model", "prevalences", "finding"], refresh);
  store.on(["selected", "beside"], mark);
  store.on(["removed"], () => {
    showRemoved();
    refresh();
  });
  store.on(["locale"], build);
  build();
  return element;
}

function thumbnailOf({ thumbnail }: Entry): HTMLElement {
  const canvas = h("canvas", { class: thumbnail ? "thumbnail" : "thumbnail none", "aria-hidden": "true", width: thumbnail?.width ?? 1, height: thumbnail?.height ?? 1 });
  if (thumbnail) canvas.getContext("2d")?.putImageData(thumbnail, 0, 0);
  return canvas;
}
