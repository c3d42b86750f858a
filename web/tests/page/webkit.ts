/** A WebKitGTK window on a display of its own, by W3C WebDriver: the few commands that a test needs. */

import { spawn, type ChildProcess } from "node:child_process";
import { createServer, type AddressInfo } from "node:net";
import type { Readable } from "node:stream";

export class WebKit {
  private constructor(
    readonly address: string,
    readonly processes: readonly ChildProcess[],
  ) {}

  /** @param driver path of WebKitWebDriver; it starts WebKitGTK's MiniBrowser. */
  static async start(driver: string): Promise<WebKit> {
    const display = spawn("Xvfb", ["-displayfd", "3", "-nolisten", "tcp"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
    const number = await new Promise<string>((resolve) => (display.stdio[3] as Readable).once("data", (data: Buffer) => resolve(data.toString().trim())));
    const port = await freePort();
    const process_ = spawn(driver, [`--port=${port}`], { stdio: "ignore", env: { ...process.env, DISPLAY: `:${number}` } });
    const service = `http://127.0.0.1:${port}`;
    for (let tries = 0; tries < 50 && !(await fetch(`${service}/status`).catch(() => null)); tries++) await pause(100);
    const { sessionId } = (await command(service, "POST", "/session", { capabilities: {} })) as { sessionId: string };
    return new WebKit(`${service}/session/${sessionId}`, [process_, display]);
  }

  async open(url: string): Promise<void> {
    await command(this.address, "POST", "/url", { url });
  }

  async openTab(): Promise<void> {
    const { handle } = (await command(this.address, "POST", "/window/new", { type: "tab" })) as { handle: string };
    await command(this.address, "POST", "/window", { handle });
  }

  /** Value of a JavaScript expression in the page. */
  evaluate(expression: string): Promise<unknown> {
    return command(this.address, "POST", "/execute/sync", { script: `return ${expression}`, args: [] });
  }

  /** Give files to an input, found by its selector. */
  async give(selector: string, ...files: string[]): Promise<void> {
    const found = await command(this.address, "POST", "/element", { using: "css selector", value: selector });
    await command(this.address, "POST", `/element/${Object.values(found as object)[0] as string}/value`, { text: files.join("\n") });
  }

  async close(): Promise<void> {
    await command(this.address, "DELETE", "").catch(() => undefined);
    for (const one of this.processes) one.kill();
  }
}

async function command(address: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const response = await fetch(`${address}${path}`, { method, ...(body !== undefined && { body: JSON.stringify(body) }) });
  const { value } = (await response.json()) as { value: unknown };
  if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(value)}`);
  return value;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
