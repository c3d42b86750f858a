/** The panels of the page, in reading order, and the voice that tells a screen reader of answers. */

import { makeAbout, makeWarning } from "./about";
import { headline } from "./answers";
import { h } from "./dom";
import { makeHeader } from "./header";
import { makeIntake } from "./intake";
import { makeList } from "./list";
import { makeOffline } from "./offline";
import { makePoints } from "./points";
import { startQueue } from "./queue";
import { makeReport } from "./report";
import { makeResult } from "./result";
import type { Store } from "./state";
import { makeViewer } from "./viewer";

export function makePage(root: HTMLElement, store: Store, retry: () => void): void {
  const voice = h("div", { class: "voice", role: "status", "aria-live": "polite" });
  const say = (text: string): void => {
    voice.replaceChildren(h("p", {}, text));
  };
  const queue = startQueue(store);
  const viewer = makeViewer(store, queue);
  const report = makeReport(store, viewer);

  function setLanguage(): void {
    const { code, texts } = store.state.words;
    document.documentElement.lang = code === "zh" ? "zh-Hans" : code;
    document.documentElement.dir = texts.direction;
    document.title = `${texts.app.title}: ${texts.app.tagline}`;
  }

  const told = new Set<number>();
  function tell(): void {
    const { entries, words } = store.state;
    for (const entry of entries) {
      if (told.has(entry.id) || (entry.state !== "answered" && entry.state !== "failed")) continue;
      told.add(entry.id);
      say(words.texts.files.answered(entry.name, headline(entry, words)));
    }
  }

  store.on(["words"], setLanguage);
  store.on(["entries"], tell);
  setLanguage();
  root.replaceChildren(
    h(
      "div", { class: "screen" },
      makeHeader(store, retry),
      makeOffline(store, say),
      h(
        "main", {},
        makeWarning(store),
        h("div", { class: "column left" }, makeIntake(store, queue, say), makeList(store, queue)),
        h("div", { class: "column conclusion" }, makeResult(store)), // before the picture: a phone shows it first
        h("div", { class: "column middle" }, viewer.element),
        h("div", { class: "column meaning" }, makePoints(store), report.panel),
        makeAbout(store),
      ),
      voice,
    ),
    report.sheet,
  );
}
