/** The panels of the page, in reading order, and the voice that tells a screen reader of answers. */

import { makeAbout } from "./panels/about";
import { makeWarning } from "./panels/failures";
import { headline } from "./answers";
import { h } from "./dom";
import { makeHeader } from "./panels/header";
import { makeFileInput } from "./worklist/file-input";
import { makeFileList } from "./worklist/file-list";
import { makeOffline } from "./panels/offline";
import { makeOperatingPoints } from "./probability/operating-points";
import { startQueue } from "./queue";
import { makeReport } from "./panels/report";
import { makeResult } from "./panels/result";
import { engineOf, type Store } from "./state";
import { makeTabs } from "./panels/tabs";
import { makeViewer } from "./viewer/viewer";

/** @param open opens the model where it is not open. */
export function makePage(root: HTMLElement, store: Store, open: () => void): void {
  const voice = h("div", { class: "voice", role: "status", "aria-live": "polite" });
  const say = (text: string): void => {
    voice.replaceChildren(h("p", {}, text));
  };
  const queue = startQueue(store, () => {
    engineOf(store.state)?.close();
    store.set({ model: { kind: "loading", loaded: 0, total: 0 } });
    open();
  });
  const viewer = makeViewer(store, queue);
  const report = makeReport(store, viewer);

  const told = new Set<number>();
  function tell(): void {
    const { entries, locale } = store.state;
    for (const entry of entries) {
      if (told.has(entry.id) || (entry.state !== "answered" && entry.state !== "failed")) continue;
      told.add(entry.id);
      say(locale.texts.files.answered(entry.name, headline(entry, locale)));
    }
  }

  const [input, list, result, points] = [makeFileInput(store, queue, say), makeFileList(store, queue), makeResult(store), makeOperatingPoints(store)];
  const about = makeAbout(store);
  const tabs = makeTabs(store, {
    result: [result], files: [input, list], display: [viewer.display], points: [points], report: [report.panel], about: [about],
  });
  const reading = h("div", { class: "column reading", role: "group", tabindex: 0 }, result, points, viewer.display, report.panel, about); // it scrolls
  const main = h(
    "main", {},
    h("div", { class: "column worklist" }, input, list),
    viewer.element, tabs, reading,
  );
  function setLanguage(): void {
    const { code, texts } = store.state.locale;
    document.documentElement.lang = code === "zh" ? "zh-Hans" : code;
    document.documentElement.dir = texts.direction;
    reading.setAttribute("aria-label", texts.tabs.heading);
    document.title = `${texts.app.title}: ${texts.app.tagline}`;
  }

  store.on(["locale"], setLanguage);
  store.on(["entries"], tell);
  setLanguage();
  const empty = (): void => {
    main.dataset["empty"] = String(store.state.entries.length === 0);
  };
  store.on(["entries"], empty);
  empty();
  root.replaceChildren(
    h(
      "div", { class: "screen" },
      makeHeader(store, open),
      makeOffline(store, say),
      makeWarning(store),
      main,
      voice,
    ),
    report.sheet,
  );
}
