/** Input on the image: mouse, pen, fingers, wheel and keys become calls. Positions are in CSS pixels of the canvas. */

export interface Gestures {
  /** Where one pointer drags: brightness and contrast, or the place. */
  mode(): "window" | "move";
  level(dx: number, dy: number): void;
  move(dx: number, dy: number): void;
  zoom(factor: number, at: { x: number; y: number }): void;
  key(name: "fit" | "invert" | "heatmap" | "reset"): void;
}

const KEY_STEP = 24;
const KEY_ZOOM = 1.25;

export function listenTo(canvas: HTMLCanvasElement, gestures: Gestures): void {
  const pointers = new Map<number, { x: number; y: number }>();
  const positionOf = (event: MouseEvent): { x: number; y: number } => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, positionOf(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = positionOf(event);
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const distance = (point: { x: number; y: number }): number => Math.hypot(point.x - other.x, point.y - other.y);
      gestures.move(dx / 2, dy / 2);
      gestures.zoom(Math.max(distance(now), 1) / Math.max(distance(before), 1), {
        x: (now.x + other.x) / 2,
        y: (now.y + other.y) / 2,
      });
    } else if (gestures.mode() === "move" || event.shiftKey || event.buttons === 4) {
      gestures.move(dx, dy);
    } else {
      gestures.level(dx, dy);
    }
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"] as const) {
    canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      gestures.zoom(Math.exp(-event.deltaY * lines * 0.0015), positionOf(event));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (pressed(event, canvas, gestures)) event.preventDefault();
  });
}

const ARROWS: Record<string, readonly [number, number]> = {
  ArrowLeft: [1, 0],
  ArrowRight: [-1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

function pressed(event: KeyboardEvent, canvas: HTMLCanvasElement, gestures: Gestures): boolean {
  const middle = { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 };
  const arrow = ARROWS[event.key];
  if (arrow) {
    const [dx, dy] = [arrow[0] * KEY_STEP, arrow[1] * KEY_STEP];
    if (event.shiftKey) gestures.level(-dx, -dy);
    else gestures.move(dx, dy);
    return true;
  }
  switch (event.key.toLowerCase()) {
    case "+":
    case "=":
      gestures.zoom(KEY_ZOOM, middle);
      return true;
    case "-":
    case "_":
      gestures.zoom(1 / KEY_ZOOM, middle);
      return true;
    case "0":
    case "۰":
      gestures.key("fit");
      return true;
    case "i":
      gestures.key("invert");
      return true;
    case "h":
      gestures.key("heatmap");
      return true;
    case "r":
      gestures.key("reset");
      return true;
    default:
      return false;
  }
}
