/** Inflates with the platform's own zlib, up to a limit. */

import { Inflate, Unzlib } from "fflate";

export interface Inflated {
  bytes: Uint8Array;
  /** Whether the stream ends early or is no such stream; false where it is sound or enough was read. */
  fault: boolean;
}

/** Inflate parts that belong together; at most `limit` bytes are kept, and reading stops there. */
export async function inflate(parts: Uint8Array[], limit: number, kind: "zlib" | "raw"): Promise<Inflated> {
  if (typeof DecompressionStream === "undefined") return inflatePlainly(parts, limit, kind);
  const stream = new DecompressionStream(kind === "zlib" ? "deflate" : "deflate-raw");
  const source = new Blob(parts as BlobPart[]).stream().pipeThrough(stream);
  const reader = source.getReader();
  const bytes = new Uint8Array(limit);
  let found = 0;
  try {
    while (found < limit) {
      const { done, value } = await reader.read();
      if (done) return { bytes: bytes.subarray(0, found), fault: false };
      const fits = value.subarray(0, limit - found);
      bytes.set(fits, found);
      found += fits.length;
    }
    await reader.cancel().catch(() => undefined);
    return { bytes, fault: false };
  } catch {
    // the platform may have withheld its last bytes
    return inflatePlainly(parts, limit, kind);
  }
}

function inflatePlainly(parts: Uint8Array[], limit: number, kind: "zlib" | "raw"): Inflated {
  const bytes = new Uint8Array(limit);
  let found = 0;
  let ended = false;
  const inflater = kind === "zlib" ? new Unzlib() : new Inflate();
  inflater.ondata = (chunk, last) => {
    const fits = chunk.subarray(0, limit - found);
    bytes.set(fits, found);
    found += fits.length;
    ended ||= last;
  };
  try {
    parts.forEach((part, index) => {
      if (found < limit) inflater.push(part, index === parts.length - 1);
    });
  } catch {
    return { bytes: bytes.subarray(0, found), fault: found < limit };
  }
  return { bytes: bytes.subarray(0, found), fault: !ended && found < limit };
}
