/** Sorting, filters and saving of the whole worklist. */

import type { Manifest } from "../../core/api";
import { shortAnswer } from "../answers";
import { fill, freshId, h, type Child } from "../dom";
import { engineOf, type Order, type Store } from "../state";
import { listAsCsv, listAsJson } from "./list-file";
import { resultOf } from "./order";
import { saveText } from "../save";

const STEPS = 20;

export function makeListTools(store: Store): { element: HTMLElement; refresh(): void } {
  const element = h("details", { class: "list-tools" });
  let known = "";
  let results = h("select", {});

  function field(label: Child, input: HTMLElement): HTMLElement {
    const id = freshId("list");
    input.id = id;
    return h("div", { class: "field" }, h("label", { for: id }, label), input);
  }
  const set = (patch: Partial<Order>): void => store.set({ order: { ...store.state.order, ...patch } });

  function build(): void {
    const { locale, order } = store.state;
    const texts = locale.texts.files;
    const sort = h("select", {}, Object.entries(texts.orders).map(([key, text]) => h("option", { value: key }, text)));
    sort.value = order.by;
    sort.addEventListener("change", () => set({ by: sort.value as Order["by"] }));
    const manifest = engineOf(store.state)?.manifest;
    results = h("select", {});
    results.addEventListener("change", () => set({ result: results.value }));
    const least = h("input", { type: "range", min: 0, max: STEPS, step: 1 });
    least.value = String(Math.round(order.least * STEPS));
    const value = h("output", { class: "value" });
    const tell = (): void => {
      value.textContent = locale.percent(store.state.order.least);
      least.setAttribute("aria-valuetext", value.textContent);
    };
    least.addEventListener("input", () => {
      set({ least: Number(least.value) / STEPS });
      tell();
    });
    tell();
    const names = h("input", { type: "checkbox" });
    names.checked = store.state.typed.withName;
    names.addEventListener("change", () => store.set({ typed: { ...store.state.typed, withName: names.checked } }));
    const namesId = freshId("list");
    names.id = namesId;
    fill(
      element,
      h("summary", {}, texts.tools),
      manifest?.findings && field(locale.texts.findings.finding, findingMenu(manifest.labels)),
      h("div", { class: "choices" }, field(texts.sort, sort), field(texts.filter, results)),
      field([leastText(manifest), " ", value], least),
      h(
        "div", { class: "buttons" },
        h("span", {}, texts.saveAll),
        h("button", { type: "button", on: { click: () => save("csv") } }, "CSV"),
        h("button", { type: "button", on: { click: () => save("json") } }, "JSON"),
        h("span", { class: "field check" }, names, h("label", { for: namesId }, texts.withNames)),
      ),
    );
    known = "";
    refresh();
  }

  /** Of several findings the one that the list shows, sorts and filters by. */
  function findingMenu(labels: readonly string[]): HTMLSelectElement {
    const { locale, finding } = store.state;
    const menu = h("select", {}, h("option", { value: "" }, locale.texts.findings.any), labels.map((one) => h("option", { value: one }, locale.label(one))));
    menu.value = finding ?? "";
    menu.addEventListener("change", () => store.set({ finding: menu.value || null }));
    return menu;
  }

  function leastText(manifest: Manifest | undefined): string {
    const { locale, finding } = store.state;
    const label = manifest?.findings ? finding : (manifest?.positive ?? "");
    return locale.texts.files.least(label === null ? locale.texts.findings.any : locale.label(label));
  }

  function save(kind: "csv" | "json"): void {
    const engine = engineOf(store.state);
    if (!engine) return;
    const made = new Date();
    const text = kind === "csv" ? listAsCsv(engine, store.state, made) : listAsJson(engine, store.state, made);
    saveText(text, { kind, made, of: "list" });
  }

  /** Offer the results that are in the list. */
  function refresh(): void {
    const { entries, locale, order, finding } = store.state;
    const decisions: Readonly<Record<string, string>> = locale.texts.findings.decisions;
    const found = new Map(entries.filter((entry) => resultOf(entry, finding)).map((entry) => {
      const [result, several] = [resultOf(entry, finding), Object.keys(entry.prediction?.findings ?? {}).length > 0];
      return [result, several && Object.hasOwn(decisions, result) ? decisions[result]! : shortAnswer(entry, locale)] as const;
    }));
    const now = JSON.stringify([...found].sort());
    if (now === known) return;
    known = now;
    fill(results, h("option", { value: "" }, locale.texts.files.every), [...found].map(([key, text]) => h("option", { value: key }, text)));
    if (found.has(order.result)) results.value = order.result;
    else if (order.result) set({ result: "" });
  }

  store.on(["locale", "model", "finding"], build);
  build();
  return { element, refresh };
}
