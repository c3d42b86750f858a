/** The panels of the page, in reading order, and the voice that tells a screen reader of answers. */

import { makeAbout, makeWarning } from "./panels/about";
import { headline } from "./answers";
import { h } from "./dom";
import { makeHeader } from "./panels/header";
import { makeFileInput } from "./panels/file-input";
import { makeFileList } from "./panels/file-list";
import { makeOffline } from "./panels/offline";
import { makeOperatingPoints } from "./panels/operating-points";
import { startQueue } from "./queue";
import { makeReport } from "./panels/report";
import { makeResult } from "./panels/result";
import { engineOf, type Store } from "./state";
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

  function setLanguage(): void {
    const { code, texts } = store.state.locale;
    document.documentElement.lang = code === "zh" ? "zh-Hans" : code;
    document.documentElement.dir = texts.direction;
    document.title = `${texts.app.title}: ${texts.app.tagline}`;
  }

  const told = new Set<number>();
  function tell(): void {
    const { entries, locale } = store.state;
    for (const entry of entries) {
      if (told.has(entry.id) || (entry.state !== "answered" && entry.state !== "failed")) continue;
      told.add(entry.id);
      say(locale.texts.files.answered(entry.name, headline(entry, locale)));
    }
  }

  store.on(["locale"], setLanguage);
  store.on(["entries"], tell);
  setLanguage();
  root.replaceChildren(
    h(
      "div", { class: "screen" },
      makeHeader(store, open),
      makeOffline(store, say),
      h(
        "main", {},
        makeWarning(store),
        h("div", { class: "column left" }, makeFileInput(store, queue, say), makeFileList(store, queue)),
        h("div", { class: "column conclusion" }, makeResult(store)), // before the picture: a phone shows it first
        h("div", { class: "column middle" }, viewer.element),
        h("div", { class: "column meaning" }, makeOperatingPoints(store), report.panel),
        makeAbout(store),
      ),
      voice,
    ),
    report.sheet,
  );
}
