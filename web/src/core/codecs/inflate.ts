/** Inflates with the platform's own zlib, up to a limit. */

import { Inflate, Unzlib } from "fflate";

const FED_AT_ONCE = 1 << 16; // a thousand times as many bytes wait to be taken at most
const FIRST_BUFFER = 1 << 20;

export interface Inflated {
  bytes: Uint8Array;
  /** Whether the stream ends early or is no such stream; false where it is sound or enough was read. */
  fault: boolean;
}

/** Inflate parts that belong together; at most `limit` bytes are kept, and reading stops there. */
export async function inflate(parts: Uint8Array[], limit: number, kind: "zlib" | "raw"): Promise<Inflated> {
  if (typeof DecompressionStream === "undefined") return inflatePlainly(parts, limit, kind);
  const stream = new DecompressionStream(kind === "zlib" ? "deflate" : "deflate-raw");
  const reader = slicesOf(parts).pipeThrough(stream as ReadableWritablePair<Uint8Array, Uint8Array>).getReader();
  const kept = new Kept(limit);
  try {
    while (!kept.full) {
      const { done, value } = await reader.read();
      if (done) return { bytes: kept.bytes, fault: false };
      kept.add(value);
    }
    await reader.cancel().catch(() => undefined);
    return { bytes: kept.bytes, fault: false };
  } catch {
    // the platform may have withheld its last bytes
    return inflatePlainly(parts, limit, kind);
  }
}

/** Bytes up to a limit, in a buffer that grows: what a header announces may never come. */
class Kept {
  #buffer: Uint8Array;
  #length = 0;

  constructor(readonly limit: number) {
    this.#buffer = new Uint8Array(Math.min(limit, FIRST_BUFFER));
  }

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  get full(): boolean {
    return this.#length >= this.limit;
  }

  add(chunk: Uint8Array): void {
    const fits = chunk.subarray(0, this.limit - this.#length);
    const needed = this.#length + fits.length;
    if (needed > this.#buffer.length) {
      const larger = new Uint8Array(Math.min(this.limit, Math.max(needed, 2 * this.#buffer.length)));
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(fits, this.#length);
    this.#length = needed;
  }
}

function* slices(parts: Uint8Array[]): Generator<Uint8Array> {
  for (const part of parts) {
    for (let at = 0; at < part.length; at += FED_AT_ONCE) yield part.subarray(at, at + FED_AT_ONCE);
  }
}

function slicesOf(parts: Uint8Array[]): ReadableStream<Uint8Array> {
  const source = slices(parts);
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const { done, value } = source.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}

function inflatePlainly(parts: Uint8Array[], limit: number, kind: "zlib" | "raw"): Inflated {
  const kept = new Kept(limit);
  let ended = false;
  const inflater = kind === "zlib" ? new Unzlib() : new Inflate();
  inflater.ondata = (chunk, last) => {
    kept.add(chunk);
    ended ||= last;
  };
  try {
    for (const slice of slices(parts)) {
      if (kept.full) break;
      inflater.push(slice);
    }
    if (!kept.full) inflater.push(new Uint8Array(), true);
  } catch {
    return { bytes: kept.bytes, fault: !kept.full };
  }
  return { bytes: kept.bytes, fault: !ended && !kept.full };
}
