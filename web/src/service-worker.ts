/**
 * Keeps the page's own files on the device, each under the hash of its content, so that it works without a network.
 *
 * A download that breaks off goes on with the files that are still missing; a file whose bytes do not have the hash that
 * the build wrote is never kept. A new version waits until the user reloads. Requests other than for these files
 * (the HTTP service's addresses, for one) are not touched.
 */

import { HEADERS } from "./policy";

declare const self: ServiceWorkerGlobalScope;

interface KeptFile {
  readonly path: string;
  readonly sha256: string;
}

export interface BuildInfo {
  readonly files: readonly KeptFile[];
  readonly build: string;
  readonly model: { readonly name: string; readonly version: string; readonly sha256: string } | null;
}

// the build puts the table in the place of this text
const BUILD = JSON.parse("__BUILD_INFO__") as BuildInfo;
const CACHE = `pocketcxr ${self.registration.scope}`; // several copies of the page may live on one site
const byPath = new Map(BUILD.files.map((file) => [file.path, file]));

const keyOf = (file: KeptFile): string => `${self.registration.scope}${file.path}?sha256=${file.sha256}`;

self.addEventListener("install", (event) => event.waitUntil(fetchMissing()));

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOld());
  // Not waited for: in Firefox the promise of a cross-origin isolated page is kept only after activation, and the two
  // would wait for each other until the browser ends the worker after a minute, with every other tab's requests.
  void self.clients.claim();
});

self.addEventListener("message", (event) => {
  if (event.data === "build info") event.ports[0]?.postMessage({ build: BUILD.build, model: BUILD.model });
  if (event.data === "take over") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return;
  const path = new URL(request.url).href.slice(self.registration.scope.length).replace(/[?#].*$/, "");
  const file = byPath.get(path === "" ? "index.html" : path);
  if (file) event.respondWith(serve(file));
});

async function fetchMissing(): Promise<void> {
  const cache = await caches.open(CACHE);
  for (const file of BUILD.files) {
    if (await cache.match(keyOf(file))) continue;
    const response = await download(file);
    if (!response) throw new Error(`${file.path}: expected the file of this build, found another; load the page again`);
    await cache.put(keyOf(file), response);
  }
}

async function dropOld(): Promise<void> {
  const cache = await caches.open(CACHE);
  const wanted = new Set(BUILD.files.map(keyOf));
  for (const request of await cache.keys()) if (!wanted.has(request.url)) await cache.delete(request);
}

async function serve(file: KeptFile): Promise<Response> {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(keyOf(file));
  if (kept) return withHeaders(kept);
  const fresh = await download(file); // the browser may have made room
  if (!fresh) return Response.error();
  await cache.put(keyOf(file), fresh.clone());
  return withHeaders(fresh);
}

/** The file as the build wrote it, or null where the server has another one. */
async function download(file: KeptFile): Promise<Response | null> {
  // the index by its folder: some servers answer index.html with a redirect, which a navigation does not accept
  const address = file.path === "index.html" ? "" : file.path;
  const response = await fetch(`${self.registration.scope}${address}`, { cache: "no-cache", redirect: "error" });
  if (!response.ok) throw new Error(`${file.path}: status ${response.status}`);
  const bytes = await response.arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (sha256 !== file.sha256) return null;
  const type = response.headers.get("Content-Type");
  return new Response(bytes, { headers: { ...(type && { "Content-Type": type }), "Content-Length": String(bytes.byteLength) } });
}

function withHeaders(response: Response): Response {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: 200, headers });
}
