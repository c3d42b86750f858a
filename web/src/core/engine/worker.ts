/**
 * Start of the worker: hands requests on.
 *
 * All else is imported late, so that no other file of the build imports this one: WebKit runs the first file of a worker a
 * second time where another file imports it, and that second copy would take the requests without having a model.
 */

import type { Request } from "./protocol";

declare const self: DedicatedWorkerGlobalScope;

const calls = import("./calls");
calls.catch((error: unknown) => setTimeout(() => { throw error; })); // the page hears of errors, not of rejections

self.onmessage = async (event: MessageEvent<Request>): Promise<void> => (await calls).take(event.data);
