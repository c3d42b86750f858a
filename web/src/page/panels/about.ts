/** Model documentation: intended use, limits, licence, privacy. */

import type { Engine, Manifest } from "../../core/api";
import { fill, h, original, type Child } from "../dom";
import { engineOf, type Store } from "../state";

export function makeAbout(store: Store): HTMLElement {
  const element = h("section", { class: "panel about", "aria-labelledby": "about-heading" });
  function build(): void {
    const { locale } = store.state;
    const texts = locale.texts.about;
    const engine = engineOf(store.state);
    fill(
      element,
      h("h2", { id: "about-heading" }, texts.heading),
      h(
        "div", {},
        h("p", {}, h("strong", {}, locale.texts.app.researchOnly)),
        h("h3", {}, texts.isFor),
        h("p", {}, texts.isForBody),
        h("h3", {}, texts.isNotFor),
        h("ul", {}, [...texts.isNotForBody, engine?.manifest.findings ? locale.texts.findings.onlyThese : texts.otherDiseases].map((text) => h("li", {}, text))),
      ),
      h(
        "div", {},
        h("h3", {}, texts.privacyHeading),
        h("ul", {}, texts.privacyBody.map((text) => h("li", {}, text))),
        engine && identityOf(engine),
      ),
    );
  }
  function identityOf({ manifest, sha256, threads }: Engine): Child {
    const { locale } = store.state;
    const texts = locale.texts.about;
    return [
      h(
        "dl", { class: "identity" },
        h("dt", {}, texts.identity), h("dd", {}, original(manifest.name)),
        h("dt", {}, texts.version), h("dd", {}, original(manifest.version)),
        h("dt", {}, texts.created), h("dd", {}, locale.date(new Date(manifest.created))),
        h("dt", {}, texts.hash), h("dd", { class: "hash" }, original(sha256)),
      ),
      h(
        "p", { class: "note", "data-threads": String(threads) },
        texts.threads(locale.number(threads)), threads === 1 && [". ", texts.noteThreads],
      ),
      manifestOf(manifest),
    ];
  }

  function manifestOf(manifest: Manifest): Child {
    const texts = store.state.locale.texts.about;
    return h(
      "details", { class: "manifest" },
      h("summary", {}, texts.manifestHeading),
      h("h4", {}, texts.intendedUse), h("p", {}, original(manifest.intended_use)),
      h("h4", {}, texts.limits), h("ul", {}, manifest.limits.map((limit) => h("li", {}, original(limit)))),
      h("h4", {}, texts.licence), h("p", {}, original(manifest.licence)),
      h("p", {}, h("a", { href: "./third-party-licences.txt" }, texts.otherLicences)),
    );
  }
  store.on(["locale", "model"], build);
  build();
  return element;
}
