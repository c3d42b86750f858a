/** The seal of the bundle that comes with the package. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { identityOf, verifyBundle } from "../../src/core/engine/bundle";
import { checkGraph } from "../../src/core/engine/graph";
import { parseManifest } from "../../src/core/engine/manifest";
import { BundleError } from "../../src/core/errors";

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

type Case = {
  field?: string; set?: Record<string, unknown>; remove?: string; long?: string; characters?: number; nested?: string;
  levels?: number; text?: string;
};
type Holder = Record<string, unknown>;

// the cases that Python's tests read, too
const CASES = JSON.parse(
  readFileSync(new URL("../../../tests/bundle/manifest_cases.json", import.meta.url), "utf8"),
) as { accepted: Case[]; refused: Case[] };
const SHIPPED = JSON.stringify((await verifyBundle(whole, "student.onnx")).manifest);

function placeOf(table: Holder, path: string): [Holder, string] {
  const names = path.split(".");
  const last = names.pop()!;
  return [names.reduce((holder, name) => holder[name] as Holder, table), last];
}

function textOf(one: Case): string {
  if (one.text !== undefined) return one.text;
  const table = JSON.parse(SHIPPED) as Holder;
  for (const [path, value] of Object.entries(one.set ?? {})) {
    const [holder, last] = placeOf(table, path);
    holder[last] = value;
  }
  if (one.remove) {
    const [holder, last] = placeOf(table, one.remove);
    delete holder[last];
  }
  if (one.long) table[one.long] = "x".repeat(one.characters!);
  if (one.nested) {
    let inner = {};
    for (let level = 1; level < one.levels!; level++) inner = { deeper: inner };
    table[one.nested] = inner;
  }
  return JSON.stringify(table);
}

test.each(CASES.refused.map((one) => [JSON.stringify(one), one] as const))("the manifest is refused: %s", (_, one) => {
  expect(() => parseManifest(textOf(one), "x.onnx")).toThrow(BundleError);
  expect(() => parseManifest(textOf(one), "x.onnx")).toThrow(new RegExp(`^x\\.onnx: [^\n]*${one.field}[^\n]*$`));
});

test.each(CASES.accepted.map((one) => [JSON.stringify(one), one] as const))("the manifest is accepted: %s", (_, one) => {
  expect(parseManifest(textOf(one), "x.onnx").labels).toEqual(["normal", "pneumonia", "covid19"]);
});

test.each(["[", '{"a":'])("nesting beyond any parser's limit is one line: %s", (opening) => {
  const closing = opening === "[" ? "]" : "}";
  const deep = `${opening.repeat(100_000)}1${closing.repeat(100_000)}`;
  const text = SHIPPED.replace('"run":{', `"run":{"deep":${deep},`);
  expect(() => parseManifest(text, "x.onnx")).toThrow(BundleError);
});

/** A field with a length, below 128 bytes. */
function field(number: number, content: number[]): number[] {
  const tag = (number << 3) | 2;
  return [...(tag < 128 ? [tag] : [(tag & 127) | 128, tag >> 7]), content.length, ...content];
}

const bytes = (text: string): number[] => [...new TextEncoder().encode(text)];
const EXTERNAL = [...field(13, field(1, bytes("location"))), 0x70, 1];
const attribute = (number: number, content: number[]): number[] => field(7, field(1, field(5, field(number, content))));

test.each<[string, number[], string]>([
  ["an initialiser", field(7, field(5, EXTERNAL)), "external data"],
  ["a location alone", field(7, field(5, [0x70, 1])), "external data"],
  ["a constant", attribute(5, EXTERNAL), "external data"],
  ["a list of tensors", attribute(10, EXTERNAL), "external data"],
  ["a branch", attribute(6, field(5, EXTERNAL)), "a graph inside it"],
  ["a list of branches", attribute(11, field(5, EXTERNAL)), "a graph inside it"],
  ["a sparse constant", attribute(22, field(1, EXTERNAL)), "a sparse tensor inside it"],
  ["a sparse initialiser", field(7, field(15, field(1, EXTERNAL))), "a sparse tensor inside it"],
  ["a function", field(25, field(7, field(5, field(5, EXTERNAL)))), "a function"],
  ["training", field(20, field(1, field(5, EXTERNAL))), "a training"],
  ["a foreign operator", field(7, field(1, field(7, bytes("com.microsoft")))), "the domain 'com.microsoft'"],
  ["foreign operators", field(8, field(1, bytes("com.microsoft"))), "the domain 'com.microsoft'"],
  ["dropout", field(7, field(1, field(4, bytes("Dropout")))), "the operator Dropout"],
  ["noise", field(7, field(1, field(4, bytes("RandomNormal")))), "the operator RandomNormal"],
  ["a damaged graph", [0x3a, 3, 0x0a, 0x7f, 0], "not a complete ONNX file"],
  ["a number that other readers cut", [0xba, 0x80, 0x80, 0x80, 0x10, 0], "not a complete ONNX file"],
])("a graph is refused: %s", (_, added, found) => {
  const model = Uint8Array.from([8, 10, ...added]);
  expect(() => checkGraph(model, "x.onnx")).toThrow(BundleError);
  expect(() => checkGraph(model, "x.onnx")).toThrow(found);
});

test("the shipped graph and constants inside the file are allowed", () => {
  checkGraph(whole, "x.onnx");
  checkGraph(Uint8Array.from([8, 10, ...attribute(5, [0x10, 1]), ...field(8, field(1, bytes("ai.onnx")))]), "x.onnx");
});

/** The shipped manifest as one of three findings. */
function ofFindings(): Holder {
  const table = JSON.parse(SHIPPED) as Holder;
  const labels = table["labels"] as string[];
  const findings = labels.map((label) => ({ label, temperature: 1.5, conformal_quantile: 0.4 }));
  const points = (table["operating_points"] as Holder[]).flatMap((point) => labels.map((label) => ({ ...point, label }))); // names are a finding's own
  return { ...table, format_version: 3, positive: "", temperature: 1, conformal_quantile: 1, findings, operating_points: points };
}

test("the manifest of several findings is read", () => {
  expect(parseManifest(JSON.stringify(ofFindings()), "x.onnx").findings).toHaveLength(3);
});

test.each<[Holder, string]>([
  [{ format_version: 2 }, "findings belong to format version 3"],
  [{ findings: undefined }, "findings belong to format version 3"],
  [{ findings: null }, "findings: expected a list"],
  [{ findings: [] }, "findings: expected the labels in their order"],
  [{ positive: "covid19" }, "positive"],
  [{ temperature: 2 }, "temperature"],
  [{ conformal_quantile: 0.5 }, "conformal_quantile"],
  [{ labels: ["normal", "covid19", "pneumonia"] }, "findings: expected the labels in their order"],
  [{ findings: [{ label: "normal", temperature: 0, conformal_quantile: 0.4 }] }, "findings\\[0\\]\\.temperature: expected a number from 0\\.001"],
  [{ findings: [{ label: "normal", temperature: 1 }] }, "no findings\\[0\\]\\.conformal_quantile"],
])("a manifest that contradicts itself on findings is refused: %j", (change, words) => {
  expect(() => parseManifest(JSON.stringify({ ...ofFindings(), ...change }), "x.onnx")).toThrow(new RegExp(words));
});
