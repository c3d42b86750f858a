/** The seal of the bundle that comes with the package. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { identityOf, verifyBundle } from "../../src/core/engine/bundle";

const FILE = new URL("../../../src/pocketcxr/bundle/weights/covid-3class.onnx", import.meta.url);
const whole = new Uint8Array(readFileSync(FILE));

test("the shipped bundle is whole, and its manifest readable", async () => {
  const { manifest, sha256 } = await verifyBundle(whole, "student.onnx");
  expect(manifest.labels).toEqual(["normal", "pneumonia", "covid19"]);
  expect(manifest.preprocessing.size).toBeGreaterThan(0);
  expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(identityOf(manifest, sha256)).toBe(`${manifest.name} ${manifest.version} sha256:${sha256.slice(0, 12)}`);
});

test.each([1000, 1_000_000])("a changed byte at %d is noticed", async (at) => {
  const changed = whole.slice();
  changed[at]! ^= 1;
  await expect(verifyBundle(changed, "student.onnx")).rejects.toThrow(/student\.onnx: .*(changed after|complete)/);
});

test("an added byte is noticed", async () => {
  const longer = new Uint8Array(whole.length + 2);
  longer.set(whole);
  longer.set([8, 8], whole.length); // one more field
  await expect(verifyBundle(longer, "student.onnx")).rejects.toThrow("changed after it was sealed");
});

test.each([0, 10, whole.length >> 1, whole.length - 1])("a file cut off at %d is noticed", async (length) => {
  await expect(verifyBundle(whole.subarray(0, length), "student.onnx")).rejects.toThrow("student.onnx: ");
});

test("an ONNX model without a manifest is no bundle", async () => {
  await expect(verifyBundle(Uint8Array.of(8, 8), "other.onnx")).rejects.toThrow("no pocketcxr bundle");
});

test("a page without crypto.subtle checks the seal all the same", async () => {
  const { subtle } = globalThis.crypto;
  Object.defineProperty(globalThis.crypto, "subtle", { value: undefined, configurable: true });
  try {
    expect((await verifyBundle(whole, "student.onnx")).sha256).toMatch(/^[0-9a-f]{64}$/);
  } finally {
    Object.defineProperty(globalThis.crypto, "subtle", { value: subtle, configurable: true });
  }
});
