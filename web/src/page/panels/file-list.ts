/** The files, each with its state; choosing one shows its picture and answer. */

import { SIGNS, shortAnswer, toneOf } from "../answers";
import { fill, h, isolated } from "../dom";
import type { Queue } from "../queue";
import type { Entry, Store } from "../state";

export function makeFileList(store: Store, queue: Queue): HTMLElement {
  const element = h("section", { class: "panel files", "aria-labelledby": "files-heading" });
  const list = h("ul", {});
  const items = new Map<number, { entry: Entry; item: HTMLLIElement }>();
  const bar = h("progress", { max: 1, value: 0, "aria-labelledby": "files-progress" });
  const count = h("p", { id: "files-progress", class: "note" });

  function build(): void {
    const { texts } = store.state.locale;
    items.clear();
    fill(list);
    fill(
      element,
      h("h2", { id: "files-heading" }, texts.files.heading),
      bar, count, list,
      h("button", { type: "button", class: "quiet", on: { click: removeAll } }, texts.files.removeAll),
    );
    refresh();
  }

  function removeAll(): void {
    queue.removeAll();
    document.getElementById("choose")?.focus();
  }

  function refresh(): void {
    const { entries, locale } = store.state;
    element.hidden = entries.length === 0;
    const done = entries.filter((entry) => entry.state === "answered" || entry.state === "failed").length;
    bar.max = Math.max(1, entries.length);
    bar.value = done;
    bar.hidden = done === entries.length;
    count.textContent = locale.texts.files.progress(locale.number(done), locale.number(entries.length));
    const present = new Set(entries.map((entry) => entry.id));
    for (const [id, { item }] of items) {
      if (present.has(id)) continue;
      item.remove();
      items.delete(id);
    }
    for (const entry of entries) {
      const known = items.get(entry.id);
      if (known?.entry === entry) continue; // entries are replaced, never changed
      const item = known?.item ?? list.appendChild(h("li", {}));
      const focused = item.contains(document.activeElement);
      fill(item, ...lineOf(entry));
      if (focused) item.querySelector("button")?.focus();
      items.set(entry.id, { entry, item });
    }
    mark();
  }

  function lineOf(entry: Entry): HTMLElement[] {
    const { locale } = store.state;
    const tone = toneOf(entry);
    const remove = h(
      "button",
      {
        type: "button", class: "tool remove", "aria-label": locale.texts.files.remove(entry.name),
        on: {
          click: () => {
            queue.remove(entry.id);
            (list.querySelector<HTMLElement>("button[aria-current]") ?? document.getElementById("choose"))?.focus();
          },
        },
      },
      "×",
    );
    return [
      h(
        "button", { type: "button", class: "file", on: { click: () => store.set({ selected: entry.id }) } },
        h("span", { class: `sign ${tone}`, "aria-hidden": "true" }, SIGNS[tone]),
        h("span", { class: "name" }, isolated(entry.name)),
        h("span", { class: "state" }, shortAnswer(entry, locale)),
      ),
      remove,
    ];
  }

  function mark(): void {
    for (const [id, { item }] of items) {
      const button = item.querySelector("button");
      if (id === store.state.selected) button?.setAttribute("aria-current", "true");
      else button?.removeAttribute("aria-current");
    }
  }

  store.on(["entries"], refresh);
  store.on(["selected"], mark);
  store.on(["locale"], build);
  build();
  return element;
}
