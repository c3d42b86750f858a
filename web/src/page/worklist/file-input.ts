/** File input: drop, choose, paste, photograph, and a synthetic example. */

import { fill, h } from "../dom";
import type { Queue } from "../queue";
import type { Store } from "../state";
import { dropped } from "./dropped-files";

const EXAMPLE = "./example.png";

export function makeFileInput(store: Store, queue: Queue, say: (text: string) => void): HTMLElement {
  const element = h("section", { class: "panel file-input", "aria-labelledby": "file-input-heading" });
  let pasted = 0;

  const add = (files: Iterable<File>): void =>
    queue.add([...files].map((file) => ({ name: file.name || "picture", blob: file })));

  function picker(camera: boolean): HTMLInputElement {
    // without `accept` where files are chosen: many DICOM files have no suffix, and a filter would hide them
    const input = camera
      ? h("input", { type: "file", class: "hidden", accept: "image/*", capture: "environment", tabindex: -1, "aria-hidden": "true" })
      : h("input", { type: "file", class: "hidden", multiple: true, tabindex: -1, "aria-hidden": "true" });
    input.addEventListener("change", () => {
      add(input.files ?? []);
      input.value = ""; // the same file can be chosen again
    });
    return input;
  }
  const [chosen, photographed] = [picker(false), picker(true)];

  async function example(): Promise<void> {
    const answer = await fetch(EXAMPLE);
    if (answer.ok) queue.add([{ name: store.state.locale.texts.files.drawing, blob: await answer.blob() }]);
  }

  function build(): void {
    const texts = store.state.locale.texts.fileInput;
    fill(
      element,
      h("h2", { id: "file-input-heading" }, texts.heading),
      h("p", { class: "drop" }, texts.drop),
      h(
        "div", { class: "buttons" },
        h("button", { type: "button", class: "primary", id: "choose", on: { click: () => chosen.click() } }, texts.choose),
        h("button", { type: "button", id: "photograph", on: { click: () => photographed.click() } }, texts.photograph),
        h("button", { type: "button", class: "quiet", id: "example", on: { click: () => void example() } }, texts.example),
      ),
      h("p", { class: "note" }, texts.formats),
      h("p", { class: "note camera" }, texts.photographNote),
      chosen, photographed,
    );
    element.dataset["drop"] = texts.dropHere;
  }

  // ------------------------------------------------------------------------------------------------ drop and paste
  let depth = 0; // dragenter and dragleave come for every child
  const mark = (change: number): void => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // else the browser opens the file and leaves the page
    mark(-depth);
    if (event.dataTransfer) void dropped(event.dataTransfer).then(add);
  });
  document.addEventListener("paste", (event) => {
    const target = event.target as HTMLElement | null;
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) {
      if (!target?.matches("input, textarea")) say(store.state.locale.texts.fileInput.nothingPasted);
      return;
    }
    event.preventDefault();
    const { locale } = store.state;
    queue.add(
      files.map((file) => {
        const plain = /^image\.\w+$/.test(file.name); // what browsers call a picture without a file
        return { name: plain ? locale.texts.files.pasted(locale.number(++pasted)) : file.name, blob: file };
      }),
    );
  });

  store.on(["locale"], build);
  build();
  return element;
}
