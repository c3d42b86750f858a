/** Tabs of narrow screens, where the image stands above one part of the page at a time; wide ones show all parts. */

import { fill, h } from "../dom";
import type { Store } from "../state";
import type { Texts } from "../../locales/catalogue";

export type Tab = Exclude<keyof Texts["tabs"], "heading">;

export const NARROW = "(max-width: 67.99rem)"; // as in layout.css

/** @param parts the elements of each tab, in the order of the tabs. */
export function makeTabs(store: Store, parts: Readonly<Record<Tab, readonly HTMLElement[]>>): HTMLElement {
  const element = h("div", { class: "tabs", role: "tablist" });
  const narrow = matchMedia(NARROW);
  const names = Object.keys(parts) as Tab[];
  let chosen: Tab = "files";
  const buttons = new Map(names.map((name) => [name, h("button", {
    type: "button", role: "tab", id: `tab-${name}`, class: "tab",
    on: { click: () => choose(name), keydown: (event) => move(event) },
  })]));

  function build(): void {
    const { texts } = store.state.locale;
    element.setAttribute("aria-label", texts.tabs.heading);
    for (const [name, button] of buttons) button.textContent = texts.tabs[name];
    fill(element, [...buttons.values()]);
    refresh();
  }

  function refresh(): void {
    for (const name of names) {
      const on = name === chosen;
      const button = buttons.get(name)!;
      button.setAttribute("aria-selected", String(on));
      button.tabIndex = on ? 0 : -1;
      for (const part of parts[name]) part.classList.toggle("other-tab", !on);
    }
  }

  function choose(name: Tab): void {
    chosen = name;
    refresh();
  }

  function move(event: KeyboardEvent): void {
    const forward = store.state.locale.texts.direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const at = names.indexOf(chosen);
    const to = { [forward]: at + 1, [back]: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(names[(to + names.length) % names.length]!);
    buttons.get(chosen)?.focus();
  }

  let last: number | null = null;
  store.on(["selected"], ({ selected }) => {
    if (selected === null) choose("files");
    else if (selected !== last) choose("result"); // a file was added or chosen: its answer is what is wanted
    last = selected;
  });
  for (const part of parts.files) {
    part.addEventListener("click", ({ target }) => (target as Element).closest(".file") && choose("result"));
  }
  const arrange = (): void => {
    element.hidden = !narrow.matches;
  };
  narrow.addEventListener("change", arrange);
  store.on(["locale"], build);
  build();
  arrange();
  return element;
}
