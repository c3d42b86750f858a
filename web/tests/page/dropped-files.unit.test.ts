/** Whatever is dropped is answered: files deep in folders, and what the browser cannot read. */

import { expect, test } from "vitest";
import { dropped } from "../../src/page/worklist/dropped-files";

function file(name: string, readable = true): FileSystemEntry {
  return {
    name, isFile: true, isDirectory: false,
    file: (found: (file: File) => void, failed: () => void) => (readable ? found(new File(["x"], name)) : failed()),
  } as unknown as FileSystemEntry;
}

function folder(name: string, children: FileSystemEntry[], readable = true): FileSystemEntry {
  const createReader = (): FileSystemDirectoryReader => {
    const left = [...children]; // handed out two by two, then none
    return {
      readEntries: (found: (entries: FileSystemEntry[]) => void, failed: () => void) =>
        readable ? found(left.splice(0, 2)) : failed(),
    } as unknown as FileSystemDirectoryReader;
  };
  return { name, isFile: false, isDirectory: true, createReader } as unknown as FileSystemEntry;
}

async function sizes(...entries: FileSystemEntry[]): Promise<Record<string, number>> {
  const items = entries.map((entry) => ({ kind: "file", webkitGetAsEntry: () => entry }));
  const found = await dropped({ items, files: [] } as unknown as DataTransfer);
  return Object.fromEntries(found.map((one) => [one.name, one.size]));
}

function nested(depth: number): FileSystemEntry {
  let entry = folder("d1", [file("deep.png")]);
  for (let level = 2; level <= depth; level++) entry = folder(`d${level}`, [entry]);
  return entry;
}

test("files of a folder, ten folders down too, are all found but hidden ones", async () => {
  const all = folder("set", [file("a.png"), file("b"), file("c.dcm"), file(".hidden", false), nested(10)]);
  expect(await sizes(all)).toEqual({ "a.png": 1, b: 1, "c.dcm": 1, "deep.png": 1 });
});

test("what cannot be read is an empty file under its own name", async () => {
  expect(await sizes(folder("set", [file("locked.png", false), folder("private", [], false)]))).toEqual({
    "locked.png": 0, private: 0,
  });
});

test("a folder in more than thirty-two others is named", async () => {
  expect(await sizes(nested(32))).toEqual({ "deep.png": 1 });
  expect(await sizes(nested(33))).toEqual({ d1: 0 });
});
