/** A small server for tests: folders under addresses, with or without the headers that threads need, and with faults. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { readFile, stat } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
  ".json": "application/json",
};

export interface Options {
  /** Address prefix -> folder. */
  folders: Record<string, string>;
  isolated: boolean;
  /** Content policy of every answer. */
  policy?: string;
  /** Called before each answer; true where it has answered itself. */
  intercept?: (request: IncomingMessage, response: ServerResponse) => Promise<boolean> | boolean;
}

export interface Serving {
  url: string;
  close(): Promise<void>;
}

export async function serve(options: Options): Promise<Serving> {
  const server: Server = createServer((request, response) => {
    answer(request, response, options).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, options: Options): Promise<void> {
  if (await options.intercept?.(request, response)) return;
  const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
  const prefix = Object.keys(options.folders).find((candidate) => path.startsWith(candidate));
  const file = prefix ? join(options.folders[prefix]!, normalize(`/${path.slice(prefix.length)}`)) : "";
  const found = file ? await stat(file).catch(() => null) : null;
  if (!found?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const body = await readFile(file);
  const headers: Record<string, string | number> = {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    ...headersOf(options),
    "Accept-Ranges": "bytes",
    ETag: `"${found.size}-${found.mtimeMs}"`,
  };
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  if (range && request.headers["if-range"] === headers["ETag"]) {
    const part = body.subarray(Number(range[1]));
    const span = `bytes ${range[1]}-${body.length - 1}/${body.length}`;
    response.writeHead(206, { ...headers, "Content-Range": span, "Content-Length": part.length }).end(part);
    return;
  }
  response.writeHead(200, { ...headers, "Content-Length": body.length }).end(body);
}

export function headersOf(options: Options): Record<string, string> {
  return {
    ...(options.policy ? { "Content-Security-Policy": options.policy } : {}),
    ...(options.isolated
      ? { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" }
      : {}),
  };
}
