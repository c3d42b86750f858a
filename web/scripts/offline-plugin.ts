/** Build steps of the offline page: the model beside it, the policy in its head, the table of files in its service worker. */

import { createHash } from "node:crypto";
import { copyFileSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import type { Plugin } from "vite";
import { CONTENT_POLICY } from "../src/policy.ts";

export const WORKER = "service-worker.js";
export const MODEL = "model.onnx"; // the page asks for it under this name

const WEIGHTS = resolve(import.meta.dirname, "../../src/pocketcxr/bundle/weights");

/** The model of the page: POCKETCXR_MODEL, else the shipped one for browsers, else the shipped one. */
export function modelFile(): string {
  const candidates = [process.env["POCKETCXR_MODEL"], join(WEIGHTS, "browser/covid-3class.onnx"), join(WEIGHTS, "covid-3class.onnx")];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error(`expected a model at one of ${candidates.filter(Boolean).join(", ")}, found none`);
  return found;
}

export function offlinePlugin(): Plugin {
  let folder = "";
  return {
    name: "pocketcxr-offline",
    apply: "build",
    configResolved(config) {
      folder = config.build.outDir;
    },
    transformIndexHtml() {
      const attrs = { "http-equiv": "Content-Security-Policy", content: CONTENT_POLICY };
      return [{ tag: "meta", attrs, injectTo: "head-prepend" }];
    },
    closeBundle() {
      copyFileSync(modelFile(), join(folder, MODEL));
      writeTable(folder);
    },
  };
}

/** What the service worker must know of the built files; same files, same text. */
export function tableOf(folder: string): string {
  const files = filesUnder(folder)
    .filter((path) => path !== WORKER && !/\.(br|gz|map)$/.test(path))
    .map((path) => ({ path, sha256: sha256(readFileSync(join(folder, path))) }));
  const model = files.find(({ path }) => path.endsWith(".onnx"));
  return JSON.stringify({
    files,
    build: sha256(Buffer.from(JSON.stringify(files))).slice(0, 12),
    model: model ? modelFacts(readFileSync(join(folder, model.path))) : null,
  });
}

function writeTable(folder: string): void {
  const worker = join(folder, WORKER);
  const text = readFileSync(worker, "utf8");
  const place = /JSON\.parse\(["'`]__BUILD_INFO__["'`]\)/;
  if (!place.test(text)) throw new Error(`${WORKER}: expected the place of the table of files, found none`);
  writeFileSync(worker, text.replace(place, () => tableOf(folder)));
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(folder, path)).isFile())
    .map((path) => relative(".", path).split(sep).join("/"))
    .sort();
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Name, version and hash that a bundle carries in the metadata of its ONNX file. */
export function modelFacts(bytes: Buffer): { name: string; version: string; sha256: string } {
  const manifest = JSON.parse(metadata(bytes, "pocketcxr.manifest")) as { name: string; version: string };
  return { name: manifest.name, version: manifest.version, sha256: metadata(bytes, "pocketcxr.sha256") };
}

/** One StringStringEntryProto: the key, then field 2 with its length as a varint. */
function metadata(bytes: Buffer, key: string): string {
  const at = bytes.lastIndexOf(key) + key.length;
  if (at < key.length || bytes[at] !== 0x12) throw new Error(`model: expected ${key} in its metadata, found none`);
  let [length, shift, place] = [0, 0, at + 1];
  for (let more = true; more; place++, shift += 7) {
    const byte = bytes[place]!;
    length |= (byte & 0x7f) << shift;
    more = byte >= 0x80;
  }
  return bytes.subarray(place, place + length).toString("utf8");
}
