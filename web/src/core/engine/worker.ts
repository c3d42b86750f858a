/**
 * Start of the worker: takes requests in turn.
 *
 * All else is imported late, so that no other file of the build imports this one: WebKit runs the first file of a worker a
 * second time where another file imports it, and that second copy would take the requests without having a model.
 */

import type { Request } from "./protocol";

declare const self: DedicatedWorkerGlobalScope;

const calls = import("./calls");
calls.catch((error: unknown) => setTimeout(() => { throw error; })); // the page hears of errors, not of rejections
let last: Promise<void> = Promise.resolve();

// one call at a time: several pictures at once would only share the processor, and need the memory of all
self.onmessage = (event: MessageEvent<Request>): void => {
  last = last.then(async () => (await calls).reply(event.data));
};
