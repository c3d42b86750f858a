/** Start of the page: language and appearance, the panels, the model. */

import { openEngine } from "./core/api";
import { makePage } from "./page/page";
import { applyTheme, remembered, themeOf } from "./page/settings";
import { Store, localeIn } from "./page/state";
import { EVERYTHING } from "./page/worklist/order";
import { bestLanguage, isLanguage, localeOf } from "./locales";

const MODEL = "./model.onnx";
const RETRY_MS = 15_000;

const theme = (): void => applyTheme(themeOf(remembered("theme")));
theme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);

document.documentElement.classList.toggle("touch", navigator.maxTouchPoints > 0);

const language = remembered("language") ?? "";
const store = new Store({
  locale: localeOf(isLanguage(language) ? language : bestLanguage(navigator.languages)),
  model: { kind: "loading", loaded: 0, total: 0 },
  entries: [],
  selected: null,
  point: "",
  prevalences: {},
  finding: null,
  heatmap: { shown: false, held: false, opacity: 0.5, label: null },
  beside: null,
  order: EVERYTHING,
  removed: [],
  typed: { patient: "", notes: "", withName: false },
});

let opening = false;
async function open(): Promise<void> {
  if (opening || store.state.model.kind === "ready") return;
  opening = true;
  store.set({ model: { kind: "loading", loaded: 0, total: 0 } });
  try {
    const engine = await openEngine({
      modelUrl: new URL(MODEL, document.baseURI).href,
      threads: "auto",
      onProgress: (loaded, total) => store.set({ model: { kind: "loading", loaded, total } }),
    });
    const point = store.state.point || (engine.manifest.operating_points[0]?.name ?? "");
    store.set({ model: { kind: "ready", engine }, point, locale: localeIn(store.state.locale.code, engine.manifest) });
  } catch (error) {
    store.set({ model: { kind: "failed", message: error instanceof Error ? error.message : String(error) } });
    setTimeout(() => void open(), RETRY_MS);
  } finally {
    opening = false;
  }
}
globalThis.addEventListener("online", () => void open());

makePage(document.getElementById("page")!, store, () => void open());
void open();
