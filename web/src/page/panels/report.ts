/** A report to print or save. Nothing of the file's header is in it; what identifies somebody was typed by the user. */

import type { Locale } from "../../locales";
import { headline, reasonsOf, toneOf } from "../answers";
import { fill, freshId, h, isolated, original, type Child } from "../dom";
import { failuresOf, meaningsOf } from "./failures";
import { failedAudit, numberedLabel } from "../model-metadata";
import { nameIn, recordOf } from "./record";
import { findingRows, findingsRule } from "../probability/findings";
import { numberOf } from "../probability/prevalence";
import { ruleOf } from "../probability/probabilities";
import { reasonList, whyOf } from "./result";
import { engineOf, selectedEntry, type Entry, type Store } from "../state";
import { saveText } from "../save";
import { heatImage, type HeatImage } from "../viewer/image";
import { scaleOf } from "../viewer/measure";
import type { Viewer } from "../viewer/viewer";
import { FITTED } from "../viewer/viewport";

const PRINTED_SIDE = 900; // pixels of the longer side

export function makeReport(store: Store, viewer: Viewer): { panel: HTMLElement; sheet: HTMLElement } {
  const panel = h("section", { class: "panel report", "aria-labelledby": "report-heading" });
  const sheet = h("article", { class: "sheet", "aria-hidden": "true" });

  function build(): void {
    const texts = store.state.locale.texts.report;
    const { typed } = store.state;
    const [patientId, notesId, nameId] = [freshId("typed"), freshId("typed"), freshId("typed")];
    const patient = h("input", { id: patientId, type: "text", autocomplete: "off", dir: "auto" });
    const notes = h("textarea", { id: notesId, rows: 3, dir: "auto" });
    const withName = h("input", { id: nameId, type: "checkbox" });
    [patient.value, notes.value, withName.checked] = [typed.patient, typed.notes, typed.withName];
    const keep = (): void =>
      store.set({ typed: { patient: patient.value, notes: notes.value, withName: withName.checked } });
    for (const field of [patient, notes, withName]) field.addEventListener("input", keep);
    fill(
      panel,
      h("h2", { id: "report-heading" }, texts.heading),
      h("p", { class: "note" }, texts.intro),
      h("div", { class: "field" }, h("label", { for: patientId }, texts.patient), patient),
      h("div", { class: "field" }, h("label", { for: notesId }, texts.notes), notes),
      h("div", { class: "field check" }, withName, h("label", { for: nameId }, texts.includeName)),
      h(
        "div", { class: "buttons" },
        h("button", { type: "button", on: { click: () => globalThis.print() } }, texts.print),
        h("button", { type: "button", on: { click: save } }, texts.save),
      ),
    );
    show();
  }

  function show(): void {
    const entry = selectedEntry(store.state);
    panel.hidden = !entry || (entry.state !== "answered" && entry.state !== "failed");
  }

  function save(): void {
    const [entry, engine] = [selectedEntry(store.state), engineOf(store.state)];
    if (!entry || !engine) return;
    const made = new Date();
    const text = JSON.stringify(recordOf(entry, engine, store.state, made), null, 2);
    saveText(text, { kind: "json", made });
  }

  // Built when the browser is about to print, so that its own print command gives the report too.
  globalThis.addEventListener("beforeprint", () => {
    const entry = selectedEntry(store.state);
    fill(sheet, entry ? sheetOf(store, viewer, entry) : null);
  });
  store.on(["locale"], build);
  store.on(["entries", "selected"], show);
  build();
  return { panel, sheet };
}

function sheetOf(store: Store, viewer: Viewer, entry: Entry): Child {
  const { state } = store;
  const { locale, typed } = state;
  const { texts } = locale;
  const engine = engineOf(state);
  if (!engine) return null;
  const { manifest } = engine;
  const failure = failedAudit(manifest);
  const scored = entry.prediction && Object.keys(entry.prediction.probabilities).length > 0 ? entry.prediction : null;
  const line = (name: string, value: Child): Child => [h("dt", {}, name), h("dd", {}, value)];
  return [
    h("h1", {}, texts.report.title),
    failure && h(
      "div", { class: "sheet-warning" },
      h("p", {}, h("strong", {}, texts.audit.heading, ". "), texts.audit.body),
      meaningsOf(failure, locale), failure.length > 0 && failuresOf(failure, locale),
    ),
    h(
      "dl", { class: "identity" },
      typed.patient && line(withoutAside(texts.report.patient), isolated(typed.patient)),
      line(texts.report.made, locale.date(new Date())),
      typed.withName && line(texts.report.file, isolated(nameIn(entry, state))),
      entry.sha256 && line(texts.report.fileHash, original(entry.sha256)),
      line(texts.about.identity, original(engine.identity)),
    ),
    picturesOf(viewer, entry, locale),
    h(
      "div", { class: "sheet-columns" },
      h(
        "div", {},
        h("p", { class: `decision ${toneOf(entry)}` }, `${texts.report.answer}: `, headline(entry, locale)),
        reasonList(reasonsOf(entry), locale),
        scored && (manifest.findings
          ? findingsRule(manifest, numberedLabel(scored, manifest, state.finding), locale)
          : [h("p", { class: "why" }, whyOf(scored, manifest, locale)), numberOf(scored, manifest, state, manifest.positive)]),
      ),
      scored && h("div", {}, manifest.findings ? findingRows(scored, manifest, state, null) : ruleOf(scored, manifest, locale)),
    ),
    typed.notes && [h("h3", {}, withoutAside(texts.report.notes)), h("p", { class: "typed", dir: "auto" }, typed.notes)],
    h("h3", {}, texts.about.isNotFor),
    h("ul", { class: "terms" }, [...texts.about.isNotForBody, manifest.findings ? texts.findings.onlyThese : texts.about.otherDiseases].map((text) => h("li", {}, text, " "))),
    h("p", {}, texts.about.licence, ": ", original(manifest.licence)),
    h("p", { class: "footer" }, texts.report.footer),
  ];
}

/** The plain image, with the window and lengths of the screen, and beside it the same with the heatmap. */
function picturesOf(viewer: Viewer, entry: Entry, { texts, label }: Locale): Child {
  const pane = viewer.shown();
  if (pane?.entry.id !== entry.id) return null;
  const { picture } = pane.image;
  const scale = PRINTED_SIDE / Math.max(picture.width, picture.height);
  const size = { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) };
  const draw = (overlay: HeatImage | null): HTMLCanvasElement => {
    const painted = h("canvas", size);
    pane.image.paint(painted, FITTED, { overlay, dense: 2 });
    // printing draws the commands of a canvas again, and putImageData is not among those that it keeps
    const canvas = h("canvas", size);
    canvas.getContext("2d")?.drawImage(painted, 0, 0);
    return canvas;
  };
  const [name, overlay] = [pane.label(), pane.overlay()];
  const { report, viewer: words } = texts;
  const scales = pane.image.lines.length > 0 && ` ${words.scales[scaleOf(picture.spacing)]}`;
  return h(
    "div", { class: "sheet-pictures" },
    h("figure", {}, draw(null), h("figcaption", {}, report.pictureCaption, scales)),
    overlay && name !== null && h("figure", {}, draw(heatImage(overlay)), h("figcaption", {}, report.pictureWithMap(label(name)))),
  );
}

/** "Notes (optional)" is "Notes" where it is printed. */
function withoutAside(text: string): string {
  return text.replace(/\s*[(\uff08].*$/, "");
}
