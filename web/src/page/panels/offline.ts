/** Registers the service worker, tells of new versions, and lets the user decide when to take them. */

import { fill, h } from "../dom";
import { engineOf, type Store } from "../state";

const AGAIN_MS = 30_000;
const CHECK_EVERY_MS = 60 * 60 * 1000;

interface BuildInfo {
  build: string;
  model: { name: string; version: string; sha256: string } | null;
}

export function makeOffline(store: Store, say: (text: string) => void): HTMLElement {
  const element = h("section", { class: "notice", hidden: true, role: "region" });
  let waiting: ServiceWorker | null = null;
  let info: BuildInfo | null = null;
  let asked = false;
  let replaced = false;

  function build(): void {
    element.hidden = !waiting && !replaced;
    if (element.hidden) return;
    const { texts } = store.state.locale;
    const engine = engineOf(store.state);
    const model = info?.model;
    const text =
      model && engine && model.sha256 !== engine.sha256
        ? texts.offline.updateModel(`${model.name} ${model.version}`)
        : texts.offline.update;
    element.setAttribute("aria-label", text);
    fill(
      element,
      h("p", {}, text),
      h("button", { type: "button", class: "primary", on: { click: reload } }, texts.offline.reload),
      h("button", { type: "button", on: { click: () => (element.hidden = true) } }, texts.offline.later),
    );
    say(text);
  }

  function reload(): void {
    asked = true;
    if (waiting && !replaced) waiting.postMessage("take over");
    else location.reload();
  }

  async function found(worker: ServiceWorker): Promise<void> {
    waiting = worker;
    info = await buildInfoOf(worker);
    build();
  }

  function follow(worker: ServiceWorker | null): void {
    let installed = false;
    worker?.addEventListener("statechange", () => {
      if (worker.state === "installed" && navigator.serviceWorker.controller) void found(worker);
      if (worker.state === "redundant" && !installed) setTimeout(() => void register(), AGAIN_MS); // a download broke off
      if (worker.state === "installed") installed = true;
      if (worker.state === "activated") {
        document.documentElement.dataset["offline"] = "ready";
        if (!waiting) say(store.state.locale.texts.offline.ready);
      }
    });
  }

  async function register(): Promise<void> {
    try {
      const registration = await navigator.serviceWorker.register("./service-worker.js", { updateViaCache: "none" });
      if (registration.active) document.documentElement.dataset["offline"] = "ready";
      if (registration.waiting && navigator.serviceWorker.controller) void found(registration.waiting);
      follow(registration.installing);
      registration.addEventListener("updatefound", () => follow(registration.installing));
    } catch {
      // no network, or a server without the worker: the page works as it is, and tries again with the network
    }
  }

  if ("serviceWorker" in navigator) {
    const controlled = navigator.serviceWorker.controller !== null;
    navigator.serviceWorker.addEventListener("controllerchange", () => {
      if (asked) return location.reload();
      if (!controlled) return; // the first worker of a first visit
      replaced = true; // another tab took the new version
      build();
    });
    // after the model: its bytes then come out of the browser's cache instead of a second time over the line
    let registered = false;
    store.on(["model"], ({ model }) => {
      if (model.kind === "loading" || registered) return;
      registered = true;
      void register();
    });
    globalThis.addEventListener("online", () => void register());
    const check = (): void => {
      if (navigator.onLine) void navigator.serviceWorker.getRegistration().then((one) => one?.update()).catch(() => undefined);
    };
    setInterval(check, CHECK_EVERY_MS);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && check());
  }
  store.on(["locale"], build);
  return element;
}

function buildInfoOf(worker: ServiceWorker): Promise<BuildInfo> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = (event) => resolve(event.data as BuildInfo);
    worker.postMessage("build info", [port2]);
  });
}
