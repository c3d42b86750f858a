/**
 * The sealed bundle file: an ONNX model with its manifest inside and its hash at the end (Python: `bundle.format`,
 * where the layout is written down). Nothing but the bytes is needed to check that it is whole.
 */

import type { Manifest } from "../types";
import { BundleError } from "../errors";
import { checkGraph } from "./graph";
import { parseManifest } from "./manifest";
import { fieldsOf } from "./protobuf";

const MANIFEST_KEY = "pocketcxr.manifest";
const SHA256_KEY = "pocketcxr.sha256";
const METADATA_PROPS = 14; // ModelProto
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
  checkGraph(data, name);
  return { manifest: parseManifest(text, name), sha256: digest };
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
      const key = entry.get(1) ?? "";
      if (found.has(key) && [MANIFEST_KEY, SHA256_KEY].includes(key)) {
        throw new BundleError(`${name}: expected one ${key} in the metadata, found two: export the bundle again`);
      }
      found.set(key, entry.get(2) ?? "");
    }
  } catch (error) {
    if (error instanceof BundleError) throw error;
    throw new BundleError(
      `${name}: not a complete ONNX file (another format, cut short or damaged): copy or download it again`,
    );
  }
  return found;
}
