/** Fetches the model; an interrupted download goes on where it stopped, or starts again, and a part is never used. */

import { verifyBundle, type Verified } from "./bundle";
import { BundleError } from "../errors";

const ATTEMPTS = 6;
const FIRST_PAUSE_MS = 300; // doubled each time
const SILENCE_MS = 20_000; // without a byte: the connection is taken for dead

export interface Downloaded extends Verified {
  bytes: Uint8Array;
}

type Progress = (loaded: number, total: number) => void;

/** What is there already, and under which version of the file. */
interface Part {
  chunks: Uint8Array[];
  loaded: number;
  total: number; // 0 where the server does not tell
  version: string; // ETag or date; empty where only a fresh start is safe
}

const NOTHING: Part = { chunks: [], loaded: 0, total: 0, version: "" };

/**
 * Download and verify a bundle.
 *
 * @throws {BundleError} no such file, no connection after several attempts, or no intact bundle.
 */
export async function downloadBundle(url: string, progress: Progress = () => undefined): Promise<Downloaded> {
  const name = decodeURIComponent(new URL(url, globalThis.location?.href).pathname.split("/").pop() ?? url);
  let part = { ...NOTHING };
  let fault: unknown;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt) await new Promise((resolve) => setTimeout(resolve, FIRST_PAUSE_MS * 2 ** (attempt - 1)));
    try {
      // after a damaged file, a kept copy must not answer again
      part = await fetchRest(url, part, { fresh: fault instanceof BundleError, name, progress });
      const bytes = joined(part);
      return { bytes, ...(await verifyBundle(bytes, name)) };
    } catch (error) {
      if (error instanceof Missing) throw new BundleError(error.message);
      if (error instanceof BundleError) part = { ...NOTHING };
      if (error instanceof Interrupted) part = error.part;
      fault = error;
    }
  }
  if (fault instanceof BundleError) throw fault;
  throw new BundleError(`${name}: the model cannot be downloaded; check the connection and try again`);
}

/** The server answers that there is no such file: trying again is no use. */
class Missing extends Error {}

class Interrupted extends Error {
  constructor(readonly part: Part) {
    super("interrupted");
  }
}

async function fetchRest(
  url: string,
  part: Part,
  { fresh, name, progress }: { fresh: boolean; name: string; progress: Progress },
): Promise<Part> {
  const resumed = part.loaded > 0 && part.version !== "";
  const headers: Record<string, string> = resumed
    ? { Range: `bytes=${part.loaded}-`, "If-Range": part.version }
    : {};
  const abort = new AbortController();
  let timer = setTimeout(() => abort.abort(), SILENCE_MS);
  let now: Part = { ...NOTHING, chunks: [] };
  try {
    const response = await fetch(url, { headers, signal: abort.signal, ...(fresh ? { cache: "reload" } : {}) });
    if (!response.ok) {
      await response.body?.cancel();
      if (response.status === 416) throw new Interrupted({ ...NOTHING }); // the part does not fit the file any more
      if (response.status >= 500 || response.status === 429) throw new Interrupted(part);
      throw new Missing(`${name}: the model is not where it should be (HTTP ${response.status}); load the page again`);
    }
    now = response.status === 206 && resumed ? { ...part, chunks: [...part.chunks] } : begun(response);
    if (!response.body) throw new Interrupted({ ...NOTHING });
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) break;
      timer = setTimeout(() => abort.abort(), SILENCE_MS);
      now.chunks.push(value);
      now.loaded += value.length;
      progress(now.loaded, Math.max(now.total, now.loaded));
    }
    if (now.total && now.loaded < now.total) throw new Interrupted(now);
    return now;
  } catch (error) {
    if (error instanceof Missing || error instanceof Interrupted) throw error;
    throw new Interrupted(now.loaded ? now : part);
  } finally {
    clearTimeout(timer);
  }
}

function begun(response: Response): Part {
  // of a compressed answer neither the length nor a range is that of the file
  const plain = !response.headers.get("Content-Encoding");
  const ranges = plain && response.headers.get("Accept-Ranges") === "bytes";
  const tag = response.headers.get("ETag") ?? "";
  const strong = tag.startsWith("W/") ? "" : tag;
  const version = strong || (response.headers.get("Last-Modified") ?? "");
  const total = plain ? Number(response.headers.get("Content-Length") ?? 0) : 0;
  return { chunks: [], loaded: 0, total, version: ranges ? version : "" };
}

function joined(part: Part): Uint8Array {
  const bytes = new Uint8Array(part.loaded);
  let at = 0;
  for (const chunk of part.chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
