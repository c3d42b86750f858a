/** Keys on the image, and the list of them. Single letters work only while the focus is in the viewer (WCAG 2.1.4). */

import { h } from "../dom";
import type { Texts } from "../../locales/catalogue";
import { PRESETS, type Preset } from "./windowing";

export type Mode = "window" | "move" | "measure";

/** What keys and buttons ask for. */
export type Command =
  | { readonly do: "zoomIn" | "zoomOut" | "fit" | "invert" | "reset" | "fullScreen" | "shortcuts" }
  | { readonly do: "line" | "erase" | "previous" | "next" }
  | { readonly do: "mode"; readonly mode: Mode }
  | { readonly do: "preset"; readonly preset: Preset }
  | { readonly do: "arrow"; readonly dx: number; readonly dy: number; readonly shift: boolean };

const COMMANDS: Readonly<Record<string, Command>> = {
  "+": { do: "zoomIn" }, "=": { do: "zoomIn" }, "-": { do: "zoomOut" }, "_": { do: "zoomOut" },
  "0": { do: "fit" }, "i": { do: "invert" }, "r": { do: "reset" }, "f": { do: "fullScreen" },
  "?": { do: "shortcuts" }, "؟": { do: "shortcuts" },
  "w": { do: "mode", mode: "window" }, "v": { do: "mode", mode: "move" }, "m": { do: "mode", mode: "measure" },
  "enter": { do: "line" }, "delete": { do: "erase" }, "backspace": { do: "erase" },
  "pageup": { do: "previous" }, "pagedown": { do: "next" },
  ...Object.fromEntries(PRESETS.map((preset, i) => [String(i + 1), { do: "preset", preset } as const])),
};

const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

/** The key as it is written, or, on keyboards of other scripts, the Latin letter or digit that stands there. */
function nameOf({ key, code }: KeyboardEvent): string {
  const latin = key.length === 1 && key > "\u007f" ? /^(?:Key|Digit)(.)$/.exec(code)?.[1] : null;
  return (latin ?? key).toLowerCase();
}

/** Pressed keys become commands; `hold` hears of H while it is down. */
export function listenToKeys(element: HTMLElement, run: (command: Command) => void, hold: (held: boolean) => void): void {
  element.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("select, input, dialog")) return;
    if (target.matches("button, summary") && /^(Enter| |Arrow.*)$/.test(event.key)) return;
    const arrow = ARROWS[event.key];
    const command = arrow
      ? ({ do: "arrow", dx: arrow[0], dy: arrow[1], shift: event.shiftKey } as const)
      : COMMANDS[nameOf(event)];
    if (!command && nameOf(event) !== "h") return;
    event.preventDefault();
    if (command) run(command);
    else hold(true);
  });
  element.addEventListener("keyup", (event) => nameOf(event) === "h" && hold(false));
  element.addEventListener("focusout", () => hold(false));
  globalThis.addEventListener("blur", () => hold(false)); // the key may be let go in another window
}

/** The list of keys, as a dialog that any language can fill. */
export function shortcutsDialog(texts: Texts["viewer"]): HTMLDialogElement {
  const { shortcuts, modes } = texts;
  const rows: readonly (readonly [string, readonly string[]])[] = [
    [shortcuts.window, ["W", "Shift + ← ↑ → ↓"]],
    [shortcuts.preset, ["1 … 5"]],
    [texts.invert, ["I"]],
    [shortcuts.zoom, ["+", "−"]],
    [shortcuts.move, ["V", "← ↑ → ↓"]],
    [texts.fit, ["0"]],
    [shortcuts.heatmap, ["H"]],
    [shortcuts.measure, ["M", "Enter"]],
    [shortcuts.erase, ["Delete"]],
    [texts.reset, ["R"]],
    [texts.fullScreen, ["F"]],
    [shortcuts.files, ["Page ↑", "Page ↓"]],
    [shortcuts.heading, ["?"]],
  ];
  const dialog = h(
    "dialog", { class: "shortcuts", "aria-label": shortcuts.heading },
    h("h2", {}, shortcuts.heading),
    h("p", {}, `${modes.window}. `, shortcuts.pointer),
    h("dl", {}, rows.map(([text, keys]) => h("div", {}, h("dt", { dir: "ltr" }, keys.map((key) => h("kbd", {}, key))), h("dd", {}, text)))),
    h("button", { type: "button", on: { click: () => dialog.close() } }, shortcuts.close),
  );
  return dialog;
}
