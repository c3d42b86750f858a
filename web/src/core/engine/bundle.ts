/**
 * The sealed bundle file: an ONNX model with its manifest inside and its hash at the end (Python: `bundle.format`,
 * where the layout is written down). Nothing but the bytes is needed to check that it is whole.
 */

import type { InputFilter, Manifest } from "../types";
import { BundleError } from "../errors";

const MANIFEST_KEY = "pocketcxr.manifest";
const SHA256_KEY = "pocketcxr.sha256";
const FORMAT_VERSION = 2;
const READABLE_VERSIONS = [1, 2]; // version 1 had no input filter
const METADATA_PROPS = 14; // ModelProto
const NEEDED: (keyof Manifest)[] = [
  "name", "version", "created", "task", "labels", "positive", "preprocessing", "temperature", "conformal_quantile",
  "conformal_coverage", "operating_points", "licence", "intended_use", "limits",
];

export interface Verified {
  manifest: Manifest;
  sha256: string;
}

/** Check that the bytes are a bundle and have not changed since it was sealed. */
export async function verifyBundle(data: Uint8Array, name: string): Promise<Verified> {
  const metadata = metadataOf(data, name);
  const text = metadata.get(MANIFEST_KEY);
  if (text === undefined) {
    throw new BundleError(
      `${name}: an ONNX model, but no pocketcxr bundle (no ${MANIFEST_KEY} in its metadata): ` +
        "give a file that pocketcxr exported",
    );
  }
  const sealed = data.subarray(0, data.length - trailer("0".repeat(64)).length);
  const digest = await sha256(sealed);
  const end = data.subarray(sealed.length);
  if (!trailer(digest).every((byte, index) => byte === end[index])) {
    throw new BundleError(
      `${name}: the bundle was changed after it was sealed (its SHA-256 does not fit): ` +
        "copy or download it again from where it was published",
    );
  }
  return { manifest: parseManifest(text, name), sha256: digest };
}

function parseManifest(text: string, name: string): Manifest {
  let table: Partial<Manifest>;
  try {
    table = JSON.parse(text) as Partial<Manifest>;
  } catch {
    throw new BundleError(`${name}: bundle manifest cannot be read: export the bundle again`);
  }
  const version = table?.format_version;
  if (version === undefined || !READABLE_VERSIONS.includes(version)) {
    throw new BundleError(`${name}: bundle has format version ${version}, expected ${FORMAT_VERSION}: export it again`);
  }
  const missing = NEEDED.filter((key) => table[key] === undefined);
  if (missing.length) {
    const words = `bundle manifest cannot be read (no ${missing.join(", ")}): export the bundle again`;
    throw new BundleError(`${name}: ${words}`);
  }
  if (table.input_gate) checkFilter(table.input_gate, name);
  return Object.assign({ metrics: {}, data: {}, teacher: {}, run: {} }, table) as Manifest;
}

/** Refuse a learned input filter that contradicts itself. */
function checkFilter(filter: InputFilter, name: string): void {
  const { kinds, accept, threshold, words } = filter;
  const different = new Set(kinds).size === kinds.length && kinds.length > 1 && kinds.includes(accept);
  const silent = kinds.filter((kind) => kind !== accept && !words[kind]);
  if (different && threshold > 0 && threshold < 1 && !silent.length) return;
  throw new BundleError(
    `${name}: input filter: expected two or more different kinds with ${accept} among them, words for the others and a ` +
      `threshold between 0 and 1, found ${kinds.join(", ")} with ${threshold}: export the bundle again`,
  );
}

/** Name, version and the start of the hash, as written beside every prediction. */
export function identityOf(manifest: Manifest, digest: string): string {
  return `${manifest.name} ${manifest.version} sha256:${digest.slice(0, 12)}`;
}

/** SHA-256 in hexadecimal; a page from a plain-http address has no `crypto.subtle`. */
async function sha256(data: Uint8Array): Promise<string> {
  const digest = globalThis.crypto?.subtle
    ? new Uint8Array(await crypto.subtle.digest("SHA-256", data as BufferSource))
    : (await import("@noble/hashes/sha2.js")).sha256(data);
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function trailer(digest: string): Uint8Array {
  const bytes = new TextEncoder();
  const field = (number: number, content: Uint8Array): Uint8Array =>
    Uint8Array.from([(number << 3) | 2, content.length, ...content]);
  const entry = [...field(1, bytes.encode(SHA256_KEY)), ...field(2, bytes.encode(digest))];
  return field(METADATA_PROPS, Uint8Array.from(entry));
}

function metadataOf(data: Uint8Array, name: string): Map<string, string> {
  const found = new Map<string, string>();
  try {
    const text = new TextDecoder("utf-8", { fatal: true });
    for (const [number, content] of fieldsOf(data)) {
      if (number !== METADATA_PROPS) continue;
      const entry = new Map([...fieldsOf(content)].map(([key, value]) => [key, text.decode(value)]));
      found.set(entry.get(1) ?? "", entry.get(2) ?? "");
    }
  } catch {
    throw new BundleError(
      `${name}: not a complete ONNX file (another format, cut short or damaged): copy or download it again`,
    );
  }
  return found;
}

/** Number and content of every field of a protobuf message; RangeError where it breaks off. */
function* fieldsOf(data: Uint8Array): Generator<[number, Uint8Array]> {
  if (!data.length) throw new RangeError();
  for (let position = 0; position < data.length; ) {
    const [tag, begin] = varint(data, position);
    let start = begin;
    switch (tag & 7) {
      case 0:
        position = varint(data, start)[1];
        break;
      case 1:
        position = start + 8;
        break;
      case 2: {
        const [length, after] = varint(data, start);
        [start, position] = [after, after + length];
        break;
      }
      case 5:
        position = start + 4;
        break;
      default:
        throw new RangeError();
    }
    if (position > data.length || Math.floor(tag / 8) === 0) throw new RangeError();
    yield [Math.floor(tag / 8), data.subarray(start, position)];
  }
}

/** A base-128 number and the position after it; numbers beyond 2^53 only matter as too large. */
function varint(data: Uint8Array, position: number): [number, number] {
  for (let number = 0, factor = 1; ; factor *= 128) {
    const byte = data[position++];
    if (byte === undefined) throw new RangeError();
    number += (byte & 0x7f) * factor;
    if (byte < 0x80) return [number, position];
  }
}
