/** Signs of the tools, drawn here: a font may lack them, and the policy forbids fonts of others. */

const NAMESPACE = "http://www.w3.org/2000/svg";

// lines in a square of 24, 2 wide
const PATHS = {
  zoomIn: "M12 5v14M5 12h14",
  zoomOut: "M5 12h14",
  fit: "M9 4H4v5M15 4h5v5M9 20H4v-5M15 20h5v-5",
  invert: "M12 3a9 9 0 0 1 0 18zM12 3a9 9 0 1 1 0 18a9 9 0 1 1 0-18z",
  reset: "M4 4v6h6M4.6 10a8 8 0 1 1-.4 4",
  fullScreen: "M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7",
  close: "M6 6l12 12M18 6L6 18",
} as const;

export type Icon = keyof typeof PATHS;

export function icon(name: Icon): SVGSVGElement {
  const image = document.createElementNS(NAMESPACE, "svg");
  for (const [key, value] of [["viewBox", "0 0 24 24"], ["aria-hidden", "true"], ["class", `icon ${name}`]] as const) image.setAttribute(key, value);
  const path = document.createElementNS(NAMESPACE, "path");
  path.setAttribute("d", PATHS[name]);
  image.append(path);
  return image;
}
