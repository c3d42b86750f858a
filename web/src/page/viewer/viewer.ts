/** The viewer: one image or two side by side, tools, keys, full screen. */

import type { Picture } from "../../core/api";
import { fill, h } from "../dom";
import type { Queue } from "../queue";
import { selectedEntry, type Entry, type Store } from "../state";
import { listed } from "../worklist/order";
import { makeDisplay } from "./display";
import { listenToKeys, shortcutsDialog, type Command, type Mode } from "./keys";
import { scaleOf } from "./measure";
import { makePane, type Pane } from "./pane";
import { makeToolbar } from "./toolbar";
import { FITTED } from "./viewport";

const ZOOM_STEP = 1.25;
const ARROW_STEP = 24;
const FINE_STEP = 2;

export interface Viewer {
  readonly element: HTMLElement;
  /** Window, heatmap and header of the image in use. */
  readonly display: HTMLElement;
  /** The image of the selected file as it is shown now, for the report; null where none is. */
  shown(): Pane | null;
}

export function makeViewer(store: Store, queue: Queue): Viewer {
  const stage = h("div", { class: "stage" });
  const measured = h("output", { class: "measured" });
  const research = h("p", { class: "research" });
  const display = makeDisplay(store);
  let panes: readonly Pane[] = [];
  let active: Pane | null = null;
  let mode: Mode = "window";
  let turn = 0;
  let dialog: HTMLDialogElement | null = null;
  const toolbar = makeToolbar(store, { pane: () => active, mode: () => mode, run, hold });
  const element = h("section", { class: "viewer", "aria-labelledby": "viewer-heading" });

  function build(): void {
    const { texts } = store.state.locale;
    dialog = shortcutsDialog(texts.viewer);
    research.textContent = texts.app.researchOnly;
    fill(element, h("h2", { id: "viewer-heading", class: "hidden" }, texts.viewer.heading), toolbar.element, stage, h("div", { class: "foot" }, measured, research), dialog);
    for (const pane of panes) pane.refresh();
    showMeasured();
    void show();
  }

  // ----------------------------------------------------------------------------------------------------- the images
  async function pictureOf(entry: Entry): Promise<Pane | Picture | null> {
    if (entry.state !== "answered") return null;
    return panes.find((pane) => pane.entry.id === entry.id) ?? (await queue.picture(entry).catch(() => null));
  }

  async function show(): Promise<void> {
    const mine = ++turn;
    const { texts } = store.state.locale;
    const entry = selectedEntry(store.state);
    const other = store.state.entries.find((one) => one.id === store.state.beside && one.id !== entry?.id);
    element.dataset["empty"] = String(!entry);
    if (entry?.state !== "answered") {
      const text = !entry ? texts.fileInput.drop : entry.state === "failed" ? texts.answer.failed : texts.viewer.loading;
      return put([], h("p", { class: "empty" }, text));
    }
    const wanted = [entry, ...(other ? [other] : [])];
    const found = await Promise.all(wanted.map(pictureOf));
    if (mine !== turn) return; // another file was chosen meanwhile
    put(found.flatMap((one, i) => {
      if (!one) return [];
      return "entry" in one ? [one] : [makePane(wanted[i]!, one, { store, mode: () => mode, changed })];
    }));
  }

  function put(next: readonly Pane[], instead: HTMLElement | null = null): void {
    const focused = stage.contains(document.activeElement);
    for (const pane of panes) if (!next.includes(pane)) pane.close();
    panes = next;
    element.dataset["panes"] = String(panes.length);
    fill(stage, instead, panes.map((pane) => pane.element));
    for (const pane of panes) pane.refresh();
    changed(panes.find((pane) => pane === active) ?? panes[0] ?? null);
    if (focused) active?.image.canvas.focus({ preventScroll: true });
  }

  function changed(pane: Pane | null): void {
    active = pane;
    for (const one of panes) one.element.classList.toggle("active", one === active && panes.length > 1);
    display.show(active);
    toolbar.refresh();
    showMeasured();
  }

  function showMeasured(): void {
    const { scales } = store.state.locale.texts.viewer;
    const relevant = active && (mode === "measure" || active.image.lines.length > 0);
    const text = relevant ? [active!.lastLength(), scales[scaleOf(active!.image.picture.spacing)]].filter(Boolean).join(". ") : "";
    if (measured.textContent !== text) measured.textContent = text;
  }

  // ------------------------------------------------------------------------------------------------------- commands
  function hold(held: boolean): void {
    if (store.state.heatmap.held !== held) store.set({ heatmap: { ...store.state.heatmap, held } });
  }

  function run(command: Command): void {
    switch (command.do) {
      case "shortcuts":
        return dialog?.showModal();
      case "fullScreen":
        return void (document.fullscreenElement ? document.exitFullscreen() : element.requestFullscreen()).catch(() => undefined);
      case "mode":
        mode = command.mode;
        element.dataset["mode"] = mode;
        return changed(active);
      case "previous":
      case "next":
        return step(command.do === "next" ? 1 : -1);
      default:
        if (active) act(active, command);
    }
  }

  function act({ image, ...pane }: Pane, command: Command): void {
    switch (command.do) {
      case "zoomIn":
        return image.zoom(ZOOM_STEP);
      case "zoomOut":
        return image.zoom(1 / ZOOM_STEP);
      case "fit":
        return image.show(FITTED);
      case "invert":
        return image.invert();
      case "reset":
        return image.reset();
      case "preset":
        return image.usePreset(command.preset);
      case "erase":
        return image.setLines(image.lines.slice(0, -1));
      case "line":
        return mode === "measure" ? pane.line() : undefined;
      case "arrow": {
        const { dx, dy, shift } = command;
        const fine = shift ? FINE_STEP : ARROW_STEP / 2;
        if (mode === "measure" && pane.extend(dx * fine, dy * fine)) return;
        if (shift) image.level(dx * ARROW_STEP, dy * ARROW_STEP);
        else image.move(-dx * ARROW_STEP, -dy * ARROW_STEP);
      }
    }
  }

  /** The file before or after the selected one, as the worklist shows them. */
  function step(by: number): void {
    const files = listed(store.state);
    const at = files.findIndex((entry) => entry.id === store.state.selected);
    const next = files[Math.min(files.length - 1, Math.max(0, at + by))];
    if (next) store.set({ selected: next.id });
  }

  listenToKeys(element, run, hold);
  let seen: readonly (Entry | null | undefined)[] = [];
  store.on(["selected", "entries", "beside"], ({ entries, beside, selected, heatmap }) => {
    const now = [selectedEntry(store.state), entries.find((entry) => entry.id === beside)];
    if (now.every((entry, i) => entry === seen[i])) return;
    const another = now[0]?.id !== seen[0]?.id;
    seen = now;
    if (another && selected !== null) {
      active = null; // the new file is in use, not the one beside it
      if (heatmap.label !== null) store.set({ heatmap: { ...heatmap, label: null } });
    }
    void show();
  });
  store.on(["locale"], build);
  store.on(["heatmap", "finding"], () => {
    for (const pane of panes) pane.refresh();
    display.show(active);
  });
  element.dataset["mode"] = mode;
  build();
  return { element, display: display.element, shown: () => panes.find((pane) => pane.entry.id === store.state.selected) ?? null };
}
