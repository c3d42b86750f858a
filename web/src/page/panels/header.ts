/** Top of the page: name, privacy, state of the model, language, appearance. */

import { LANGUAGES, isLanguage } from "../../locales";
import { fill, h, isolated } from "../dom";
import { THEMES, applyTheme, remember, remembered, themeOf } from "../settings";
import { engineOf, localeIn, type Store } from "../state";

export function makeHeader(store: Store, retry: () => void): HTMLElement {
  const element = h("header", { class: "top" });
  const model = h("div", { class: "model" });

  function build(): void {
    const { texts, code } = store.state.locale;
    const language = h(
      "select", { id: "language", "aria-label": texts.app.menuLanguage },
      Object.entries(LANGUAGES).map(([key, one]) => h("option", { value: key, lang: key }, one.language)),
    );
    language.value = code;
    language.addEventListener("change", () => {
      if (!isLanguage(language.value)) return;
      remember("language", language.value);
      store.set({ locale: localeIn(language.value, engineOf(store.state)?.manifest) });
      document.getElementById("language")?.focus();
    });
    const theme = h(
      "select", { id: "theme", "aria-label": texts.app.theme },
      THEMES.map((one) => h("option", { value: one }, texts.app.themes[one])),
    );
    theme.value = themeOf(remembered("theme"));
    theme.addEventListener("change", () => {
      remember("theme", theme.value);
      applyTheme(themeOf(theme.value));
    });
    fill(
      element,
      h("a", { class: "skip", href: "#answer" }, texts.app.skip),
      h(
        "div", { class: "brand" },
        h("img", { src: "./icon.svg", alt: "", width: 36, height: 36 }),
        h("div", {}, h("h1", {}, texts.app.title), h("p", {}, texts.app.tagline)),
      ),
      h("div", { class: "menus" }, language, theme),
      h("p", { class: "promise" }, h("strong", {}, texts.app.privacy), " ", texts.app.researchOnly),
      model,
    );
    showModel();
  }

  function showModel(): void {
    const { texts, ...locale } = store.state.locale;
    const state = store.state.model;
    model.dataset["state"] = state.kind;
    const megabytes = (bytes: number): string => locale.number(bytes / 1e6, 1);
    if (state.kind === "failed") {
      fill(
        model,
        h("p", {}, h("strong", {}, texts.model.failed), ". ", texts.model.failedHelp),
        h("p", { class: "detail", lang: "en", dir: "ltr" }, state.message),
        h("button", { type: "button", on: { click: retry } }, texts.model.retry),
      );
    } else if (state.kind === "loading") {
      const known = state.total > 0;
      fill(
        model,
        h("p", {}, texts.model.loading, known && [": ", texts.model.progress(megabytes(state.loaded), megabytes(state.total))]),
        known ? h("progress", { max: state.total, value: state.loaded, "aria-label": texts.model.loading })
              : h("progress", { "aria-label": texts.model.loading }),
      );
    } else {
      fill(model, h("p", {}, texts.model.ready, ": ", isolated(engineOf(store.state)!.identity)));
    }
  }

  store.on(["locale"], build);
  store.on(["model"], showModel);
  build();
  return element;
}
