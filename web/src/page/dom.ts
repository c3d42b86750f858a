/** Elements from code: text is set as text, never as markup, and no style attribute is written (the policy forbids both). */

export type Child = Node | string | null | undefined | false | readonly Child[];

type Listeners = { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };

interface Properties {
  readonly [attribute: string]: string | number | boolean | undefined | Listeners;
  readonly on?: Listeners;
}

/** One element; `true` sets an empty attribute, `false` and undefined set none. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value as Listeners)) {
        element.addEventListener(event, listener as EventListener);
      }
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  fill(element, ...children);
  return element;
}

/** Replace what an element holds. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...flat(children));
}

function flat(children: readonly Child[]): (Node | string)[] {
  return children.flatMap((child): (Node | string)[] => {
    if (child === null || child === undefined || child === false) return [];
    if (typeof child === "string" || child instanceof Node) return [child];
    return flat(child);
  });
}

/** English text inside a page of another language, or a name of unknown direction. */
export function original(text: string): HTMLElement {
  return h("span", { lang: "en", dir: "ltr" }, text);
}

export function isolated(text: string): HTMLElement {
  return h("bdi", {}, text);
}

/** A sentence of the catalogue in which `name` appears, the name kept apart from the sentence's direction. */
export function sentence(make: (name: string) => string, name: string): HTMLElement {
  const mark = "\u0000";
  const [before = "", after = ""] = make(mark).split(mark);
  return h("span", {}, before, isolated(name), after);
}

let last = 0;

/** An id that no other element of the page has, to tie a label to its field. */
export function freshId(prefix: string): string {
  last += 1;
  return `${prefix}-${last}`;
}
