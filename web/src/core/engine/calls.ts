/** What the worker does: reading, resizing and the network, so that the page never waits. */

import type { Manifest, Picture } from "../types";
import { answer, refused } from "./decision";
import { loadCodec } from "../codecs/wasm";
import { BundleError, InputError } from "../errors";
import type { Call, Prepared, Reply, Request, Result } from "./protocol";
import { refusalReasons } from "../input-checks";
import type { Radiograph } from "../radiograph";
import { readImage } from "../reading";
import { resize } from "../resize";
import { loadNetwork, startRuntime, type Network } from "./session";

declare const self: DedicatedWorkerGlobalScope;

let manifest: Manifest | null = null;
let network: Network | null = null;

const IDLE_MS = 100;
let last: Promise<void> = Promise.resolve();
let taken = 0;

/** Answer requests in turn: several pictures at once would only share the processor, and need the memory of all. */
export function take(request: Request): void {
  taken += 1;
  last = last.then(() => reply(request));
}

/** Answer one request; what fails is said in the reply. */
async function reply({ id, call }: Request): Promise<void> {
  try {
    const [result, transfer] = await handle(call);
    const message: Reply = { id, result };
    self.postMessage(message, transfer);
    if (call.kind === "load") prepareForMore();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof InputError ? error.code : error instanceof BundleError ? "bundle" : "";
    const detail = error instanceof InputError ? error.detail : message;
    self.postMessage({ id, error: { code, detail } } satisfies Reply);
  }
}

async function handle(call: Call): Promise<[Result[keyof Result], Transferable[]]> {
  switch (call.kind) {
    case "start":
      await startRuntime(call.threads);
      return [null, []];
    case "load":
      manifest = call.manifest;
      network = await loadNetwork(call.model, call.manifest, call.name);
      return [null, []];
    case "read":
      return read(call.name, new Uint8Array(call.bytes));
    case "predict":
      return [await predict(call.input), []];
  }
}

async function read(name: string, bytes: Uint8Array): Promise<[Result["read"], Transferable[]]> {
  if (!manifest) throw new Error("no model is loaded");
  const start = performance.now();
  const radiograph = await readImage(bytes);
  const reasons = refusalReasons(radiograph);
  const { width, height } = radiograph.metadata;
  const input = reasons.length ? null : resize(radiograph.pixels, width, height, manifest.preprocessing);
  const readMs = performance.now() - start;
  const prepared: Prepared = { answer: reasons.length ? refused(reasons) : null, input, readMs, synthetic: radiograph.metadata.synthetic };
  const { pixels, values, window, spacing } = radiograph;
  const format = radiograph.metadata.format.toLowerCase() as Picture["format"];
  const shown = { values, window, spacing, format, metadata: metadataOf(radiograph) };
  const picture: Picture = { name, width, height, pixels, ...shown };
  return [{ picture, prepared }, [...new Set([pixels.buffer, values.buffer])]];
}

/** Metadata to show, as text; empty ones are left out. */
function metadataOf({ metadata }: Radiograph): Record<string, string> {
  const { modality, view, bodyPart, transferSyntax, bits, notes } = metadata;
  const table = { modality, view, bodyPart, transferSyntax, bits: String(bits), notes: notes.join("; ") };
  return Object.fromEntries(Object.entries(table).filter(([, text]) => text !== ""));
}

async function predict(input: Float32Array): Promise<Result["predict"]> {
  if (!manifest || !network) throw new Error("no model is loaded");
  const start = performance.now();
  const found = answer(await network(input), manifest);
  return { answer: found, milliseconds: performance.now() - start };
}

/**
 * Fetch what most pictures need; and where none is waiting already, run the first pass, which is slower than later ones,
 * while the user looks around.
 */
function prepareForMore(): void {
  void Promise.all([import("../raster/raster"), loadCodec("jpeg")]).catch(() => undefined);
  const before = taken;
  setTimeout(() => {
    if (taken === before) last = last.then(warmUp).catch(() => undefined); // a model that fails is said with the first picture
  }, IDLE_MS);
}

async function warmUp(): Promise<void> {
  if (manifest && network) await network(new Float32Array(manifest.preprocessing.size ** 2));
}
