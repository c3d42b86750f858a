/** No picture leaves: every connection of the whole browser goes through a witness, and the policy stops what tries. */

import { chromium, type Request } from "@playwright/test";
import { createServer, request as forward, type Server } from "node:http";
import { readdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { CONTENT_POLICY } from "../../src/policy";
import { add, answer, decided, drawn, drawnWith, expect, open, show, test } from "./opened";
import { BUILT } from "./prepare";

// Chromium calls its maker for updates, accounts and form filling whatever the page; refused here, and none is the page's:
// the policy lets it reach its own address only, as the next test shows.
const CHROMIUMS_OWN =
  /^([\w.-]+\.(google|googleapis|gvt1|gstatic)\.com:443|http:\/\/update\.googleapis\.com\/service\/update2\/json\?\S*)$/;

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly bytes: number;
}

/** A proxy through which the browser must go, for this computer's own addresses too. */
async function witness(): Promise<{ server: Server; port: number; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      const body = Buffer.concat(chunks);
      seen.push({ method: incoming.method ?? "", url: incoming.url ?? "", bytes: body.length });
      const onward = forward(incoming.url ?? "", { method: incoming.method, headers: incoming.headers }, (reply) => {
        outgoing.writeHead(reply.statusCode ?? 502, reply.headers);
        reply.pipe(outgoing);
      });
      onward.on("error", () => outgoing.destroy());
      onward.end(body);
    });
  });
  server.on("connect", (incoming, socket) => {
    seen.push({ method: "CONNECT", url: incoming.url ?? "", bytes: 0 });
    socket.destroy(); // noted and refused
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, port: (server.address() as AddressInfo).port, seen };
}

test("during predictions the whole browser asks for the page's own files and sends nothing", async ({ site }) => {
  const { server, port, seen } = await witness();
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", `--proxy-server=http://127.0.0.1:${port}`,
      "--proxy-bypass-list=<-loopback>",
    ],
  });
  try {
    const page = await (await browser.newContext({ locale: "en", serviceWorkers: "allow" })).newPage();
    const known: Request[] = [];
    page.on("request", (request) => known.push(request));
    await open(page, site.url);
    const names = [drawnWith(decided), drawnWith((_, name) => name.endsWith(".dcm")), drawnWith((_, name) => name.endsWith(".jpg"))];
    await add(page, ...new Set(names.map(drawn)));
    for (const name of names) {
      await show(page, name);
      await expect(answer(page).locator(".bars")).toBeVisible();
    }
    await expect(page.locator("html")).toHaveAttribute("data-offline", "ready"); // the service worker's requests are in
    const files = new Set(readdirSync(BUILT, { recursive: true, encoding: "utf8" }).map((path) => new URL(path, site.url).href));
    const own = seen.filter(({ url }) => url.startsWith(site.url));
    expect(own.length).toBeGreaterThan(5); // the witness sees
    for (const { method, url, bytes } of own) {
      expect([method, bytes]).toEqual(["GET", 0]);
      expect(url === site.url || files.has(url), url).toBe(true); // no word of a picture in an address either
    }
    const others = seen.filter(({ url }) => !url.startsWith(site.url) && !CHROMIUMS_OWN.test(url));
    expect(others).toEqual([]);
    for (const request of known) expect(request.postData()).toBeNull();
  } finally {
    await browser.close();
    server.close();
  }
});

test("the policy refuses other addresses, forms and inline code, in workers too, and the page keeps to it", async ({ browser, site }) => {
  const context = await browser.newContext({ locale: "en", serviceWorkers: "allow" });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await open(page, site.url);
  await expect(page.locator('meta[http-equiv="Content-Security-Policy"]')).toHaveAttribute("content", CONTENT_POLICY);
  await add(page, drawn(drawnWith(decided)));
  await expect(answer(page).locator(".bars")).toBeVisible();
  expect(complaints).toEqual([]);
  // workers take their policy from a header, which the service worker adds
  await expect(page.locator("html")).toHaveAttribute("data-offline", "ready");
  const headers = await page.evaluate(async (paths) => {
    const found: (string | null)[] = [];
    for (const path of paths) found.push((await fetch(path)).headers.get("Content-Security-Policy"));
    return found;
  }, readdirSync(join(BUILT, "assets")).filter((name) => name.startsWith("worker")).map((name) => `assets/${name}`));
  expect(headers.length).toBeGreaterThan(0);
  for (const header of headers) expect(header).toContain(CONTENT_POLICY);
  const broken = await page.evaluate(async () => {
    const found: string[] = [];
    document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
    await fetch("https://example.org/", { method: "POST", body: "x" }).catch(() => undefined);
    const image = new Image();
    image.src = "https://example.org/x.png";
    const script = document.createElement("script");
    script.textContent = "globalThis.stolen = true";
    document.body.append(script);
    const form = document.createElement("form");
    form.action = "https://example.org/";
    document.body.append(form);
    form.submit();
    document.body.setAttribute("style", "color: red");
    await new Promise((resolve) => setTimeout(resolve, 300));
    return [...new Set(found)].sort();
  });
  expect(broken).toEqual(["connect-src", "form-action", "img-src", "script-src-elem", "style-src-attr"]);
  await context.close();
});
