/** Buttons over the image. */

import { fill, h, type Child } from "../dom";
import type { Store } from "../state";
import { icon } from "../icons";
import type { Command, Mode } from "./keys";
import type { Pane } from "./pane";
import { PRESETS, type Preset } from "./windowing";

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
  let presets = h("select", {});

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

  /** Window presets of the image in use. */
  function presetMenu({ preset, presets: names }: Store["state"]["locale"]["texts"]["viewer"]): HTMLSelectElement {
    const menu = h(
      "select", { class: "preset", "aria-label": preset, title: `${preset} (1 … ${PRESETS.length})` },
      [...PRESETS, "custom" as const].map((name) => h("option", { value: name }, names[name])),
    );
    menu.addEventListener("change", () => menu.value !== "custom" && pane()?.image.usePreset(menu.value as Preset));
    return menu;
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
      button(icon("zoomIn"), texts.zoomIn, "+", { do: "zoomIn" }),
      button(icon("zoomOut"), texts.zoomOut, "-", { do: "zoomOut" }),
      button(icon("fit"), texts.fit, "0", { do: "fit" }),
      toggle(button(icon("invert"), texts.invert, "I", { do: "invert" }), () => pane()?.image.inverted ?? false),
      button(icon("reset"), texts.reset, "R", { do: "reset" }),
      presets = presetMenu(texts),
      h("span", { class: "space" }),
      button("?", texts.shortcuts.heading, "?", { do: "shortcuts" }),
      document.fullscreenEnabled && toggle(button(icon("fullScreen"), texts.fullScreen, "F", { do: "fullScreen" }), () => document.fullscreenElement !== null),
    );
    refresh();
  }

  function refresh(): void {
    for (const [one, on] of pressed) one.setAttribute("aria-pressed", String(on()));
    presets.disabled = pane() === null;
    presets.value = pane()?.image.preset ?? "file";
  }

  store.on(["locale"], build);
  document.addEventListener("fullscreenchange", refresh);
  build();
  return { element, refresh };
}
