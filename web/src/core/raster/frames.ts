/** How many pictures a file holds: an animation has no one picture to score. */

const latin = (data: Uint8Array, start: number) => String.fromCharCode(...data.subarray(start, start + 4));

export function frameCount(data: Uint8Array, format: string): number {
  if (format === "PNG") return animatedPng(data);
  if (format === "WEBP") return animatedWebp(data);
  return 1;
}

/** The frames that an acTL chunk announces; it stands before the first IDAT (PNG, third edition, 11.3.6.1). */
function animatedPng(data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 8; at + 12 <= data.length; at += 12 + view.getUint32(at)) {
    const kind = latin(data, at + 4);
    if (kind === "IDAT") return 1;
    if (kind === "acTL" && at + 12 <= data.length) return view.getUint32(at + 8);
  }
  return 1;
}

/** The ANMF chunks of a RIFF container, each of them a frame (WebP container specification). */
function animatedWebp(data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let frames = 0;
  for (let at = 12; at + 8 <= data.length; ) {
    if (latin(data, at) === "ANMF") frames++;
    const size = view.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return Math.max(1, frames);
}
