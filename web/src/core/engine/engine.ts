/** The page's end of the worker: opens a verified model, reads pictures, asks for predictions. */

import type { Engine, OpenOptions, Picture, Prediction } from "../types";
import { identityOf, type Verified } from "./bundle";
import { downloadBundle } from "./download";
import { BundleError, InputError } from "../errors";
import type { Call, Prepared, Reply, Request, Result } from "./protocol";

const MOST_THREADS = 4; // one picture through a small network gains nothing from more
const PATIENCE_MS = 10_000; // threads that have not started by then never will (some phones); one thread always does

/**
 * Open a model: fetch it, verify its seal, start the runtime.
 *
 * @throws {BundleError} the model cannot be fetched, is damaged, or does not run here.
 */
export async function openEngine({ modelUrl, threads = "auto", onProgress }: OpenOptions): Promise<Engine> {
  const url = new URL(modelUrl, globalThis.location.href).href;
  const download = downloadBundle(url, onProgress);
  // a connection that has brought the model has brought the runtime, too, which is smaller
  const brought = download.then(nothing, nothing);
  const { worker, threads: used } = await startWorker(threadsFor(threads), brought);
  try {
    const { bytes, manifest, sha256 } = await download;
    await worker.ask({ kind: "load", model: bytes, manifest, name: nameOf(url) });
    return engineOf(worker, { manifest, sha256 }, used);
  } catch (error) {
    worker.close();
    throw error;
  }
}

function nameOf(url: string): string {
  return decodeURIComponent(new URL(url).pathname.split("/").pop() ?? url);
}

/** Threads of WebAssembly need shared memory, and that needs a cross-origin isolated page. */
function threadsFor(asked: number | "auto"): number {
  if (!globalThis.crossOriginIsolated || typeof SharedArrayBuffer === "undefined") return 1;
  const available = Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1);
  return asked === "auto" ? available : Math.max(1, Math.floor(asked));
}

const nothing = (): void => undefined;

/** A worker with a running runtime: with several threads, or with one where those do not start in time. */
async function startWorker(threads: number, brought: Promise<void>): Promise<{ worker: WorkerLine; threads: number }> {
  const worker = new WorkerLine();
  try {
    const started = worker.ask({ kind: "start", threads });
    await (threads > 1 ? within(started, brought, PATIENCE_MS) : started);
    return { worker, threads };
  } catch (error) {
    worker.close();
    if (threads > 1) return startWorker(1, brought);
    const words = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new BundleError(`the runtime cannot start in this browser (${words}); use a newer one`);
  }
}

/** Wait for a promise, but no longer than so many milliseconds after another has settled. */
function within<T>(promise: Promise<T>, other: Promise<void>, milliseconds: number): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    void other.then(() => {
      timer = setTimeout(() => reject(new Error("timed out")), milliseconds);
    });
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function engineOf(worker: WorkerLine, { manifest, sha256 }: Verified, threads: number): Engine {
  const identity = identityOf(manifest, sha256);
  const made = new WeakMap<Picture, Prepared>();
  return {
    manifest,
    sha256,
    identity,
    threads,
    async read(name: string, bytes: ArrayBuffer): Promise<Picture> {
      const { picture, prepared } = await worker.ask({ kind: "read", name, bytes });
      made.set(picture, prepared);
      return picture;
    },
    async predict(picture: Picture): Promise<Prediction> {
      const prepared = made.get(picture);
      if (!prepared) throw new Error("predict takes a picture that this engine has read");
      const { answer, milliseconds } = prepared.input
        ? await worker.ask({ kind: "predict", input: prepared.input })
        : { answer: prepared.answer!, milliseconds: 0 };
      const took = { read: prepared.readMs, predict: milliseconds };
      const reasons = prepared.synthetic ? [...answer.reasons, { code: "synthetic" }] : answer.reasons;
      return { path: picture.name, bundle: identity, ...answer, reasons, milliseconds: took };
    },
    close: () => worker.close(),
  };
}

/** Requests to a worker and their replies. */
class WorkerLine {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #next = 0;
  #broken: Error | null = null;

  constructor() {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = (event: MessageEvent<Reply>) => this.#settle(event.data);
    this.#worker.onerror = (event) => this.#fail(new Error(event.message || "the worker cannot be loaded"));
  }

  ask<Kind extends Call["kind"]>(call: Call & { kind: Kind }): Promise<Result[Kind]> {
    if (this.#broken) return Promise.reject(this.#broken);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject });
      // the file's bytes move to the worker; a model stays here, for a second worker may need it
      const request: Request = { id, call };
      this.#worker.postMessage(request, request.call.kind === "read" ? [request.call.bytes] : []);
    });
  }

  close(): void {
    this.#worker.terminate();
    this.#fail(new Error("the engine is closed"));
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (!waiting) return;
    if ("result" in reply) return waiting.resolve(reply.result as never);
    const { code, detail } = reply.error;
    if (code === "") waiting.reject(new Error(detail));
    else waiting.reject(code === "bundle" ? new BundleError(detail) : new InputError(code, detail));
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
