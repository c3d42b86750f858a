/** A static site on this computer, as plain as a web host can be; it notes every request and can misbehave on demand. */

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { extname, join, normalize } from "node:path";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
};

export interface Noted {
  readonly method: string;
  readonly path: string;
}

/** Takes a request and answers it, or returns false to leave it to the folder. */
export type Handler = (path: string, response: ServerResponse) => boolean;

export class Site {
  readonly noted: Noted[] = [];
  handler: Handler = () => false;
  #server: Server | null = null;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  constructor(
    public folder: string,
    readonly headers: Record<string, string> = {},
  ) {}

  get url(): string {
    return `http://127.0.0.1:${this.#port}/`;
  }

  /** Start, or start again at the same address. */
  async start(): Promise<this> {
    const server = createServer((request, response) => this.#answer(request, response));
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    for (const socket of this.#sockets) socket.destroy();
    if (server) await new Promise((resolve) => server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url ?? "/", this.url).pathname);
    this.noted.push({ method: request.method ?? "", path });
    for (const [name, value] of Object.entries(this.headers)) response.setHeader(name, value);
    if (this.handler(path, response)) return;
    const file = join(this.folder, normalize(path.endsWith("/") ? `${path}index.html` : path));
    if (!file.startsWith(this.folder) || !existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
    response.setHeader("Content-Length", statSync(file).size);
    createReadStream(file).pipe(response);
  }
}
