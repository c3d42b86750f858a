/** Buttons over the image. */

import { fill, h, type Child } from "../dom";
import type { Store } from "../state";
import type { Command, Mode } from "./keys";
import type { Pane } from "./pane";

const MODES: readonly Mode[] = ["window", "move", "measure"];

export interface Toolbar {
  readonly element: HTMLElement;
  refresh(): void;
}

export function makeToolbar(
  store: Store, { pane, mode, run, hold }: { pane(): Pane | null; mode(): Mode; run(command: Command): void; hold(held: boolean): void },
): Toolbar {
  const element = h("div", { class: "toolbar", role: "toolbar" });
  let pressed: [HTMLButtonElement, () => boolean][] = [];

  function button(text: Child, label: string, key: string, command: Command): HTMLButtonElement {
    const title = `${label} (${key})`;
    return h("button", { type: "button", class: "tool", "aria-label": label, title, "aria-keyshortcuts": key, on: { click: () => run(command) } }, text);
  }

  function toggle(one: HTMLButtonElement, on: () => boolean): HTMLButtonElement {
    pressed.push([one, on]);
    return one;
  }

  /** Shows the heatmap as long as it is held by a finger, the mouse or a key. */
  function heatButton(text: string): HTMLButtonElement {
    const one = h("button", { type: "button", class: "tool hold", title: `${text} (H)`, "aria-keyshortcuts": "H" }, text);
    one.addEventListener("pointerdown", (event) => {
      one.setPointerCapture(event.pointerId);
      hold(true);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "keyup", "blur"] as const) one.addEventListener(end, () => hold(false));
    one.addEventListener("keydown", (event) => (event.key === " " || event.key === "Enter") && hold(true));
    one.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch is no question for a menu
    return one;
  }

  function build(): void {
    const { viewer: texts, heatmap } = store.state.locale.texts;
    pressed = [];
    element.setAttribute("aria-label", texts.tools);
    fill(
      element,
      h(
        "div", { class: "modes", role: "group", "aria-label": texts.drag },
        MODES.map((name) => toggle(
          button(texts.modes[name], texts.modes[name], { window: "W", move: "V", measure: "M" }[name], { do: "mode", mode: name }),
          () => mode() === name,
        )),
      ),
      heatButton(heatmap.hold),
      button("+", texts.zoomIn, "+", { do: "zoomIn" }),
      button("−", texts.zoomOut, "-", { do: "zoomOut" }),
      button(texts.fit, texts.fit, "0", { do: "fit" }),
      toggle(button(texts.invert, texts.invert, "I", { do: "invert" }), () => pane()?.image.inverted ?? false),
      button(texts.reset, texts.reset, "R", { do: "reset" }),
      store.state.beside !== null && h("button", { type: "button", class: "tool", on: { click: () => store.set({ beside: null }) } }, texts.closeBeside),
      h("span", { class: "space" }),
      button("?", texts.shortcuts.heading, "?", { do: "shortcuts" }),
      document.fullscreenEnabled && toggle(button(texts.fullScreen, texts.fullScreen, "F", { do: "fullScreen" }), () => document.fullscreenElement !== null),
    );
    refresh();
  }

  function refresh(): void {
    for (const [one, on] of pressed) one.setAttribute("aria-pressed", String(on()));
  }

  store.on(["locale", "beside"], build);
  document.addEventListener("fullscreenchange", refresh);
  build();
  return { element, refresh };
}
