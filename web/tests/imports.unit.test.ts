/** Contracts on the imports of web/src: no circles, the core never imports the page, folders hold at most 12 files. */

import { readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const SOURCE = resolve(import.meta.dirname, "../src");
const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts")).sort();
const known = new Set(files);

/** Files that a file imports, types and dynamic imports included. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(SOURCE, file), "utf8");
  const named = [...text.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)].map((match) => match[1]!);
  return named.flatMap((name) => {
    const target = relative(SOURCE, resolve(SOURCE, dirname(file), name));
    return [`${target}.ts`, join(target, "index.ts")].filter((one) => known.has(one)).slice(0, 1);
  });
}

const graph = new Map(files.map((file) => [file, importsOf(file)]));

function circleFrom(file: string, path: readonly string[], done: Set<string>): readonly string[] | null {
  if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
  if (done.has(file)) return null;
  for (const next of graph.get(file)!) {
    const circle = circleFrom(next, [...path, file], done);
    if (circle) return circle;
  }
  done.add(file);
  return null;
}

test("no file imports itself by way of others", () => {
  const done = new Set<string>();
  expect(files.map((file) => circleFrom(file, [], done)).filter((circle) => circle !== null)).toEqual([]);
  expect([...graph.values()].flat().length).toBeGreaterThan(100); // imports were found at all
});

test("no folder imports itself by way of others", () => {
  const folders = new Map<string, Set<string>>();
  for (const [file, targets] of graph) {
    if (!file.startsWith("core/")) continue;
    const from = dirname(file);
    const to = targets.map((target) => dirname(target)).filter((folder) => folder !== from && folder !== "core" && from !== "core");
    folders.set(from, new Set([...(folders.get(from) ?? []), ...to]));
  }
  const both = [...folders].flatMap(([from, targets]) => [...targets].filter((to) => folders.get(to)?.has(from)).map((to) => [from, to]));
  expect(both).toEqual([]);
});

test("the core does not import the page", () => {
  const wrong = [...graph].filter(([file, targets]) => file.startsWith("core/") && targets.some((target) => !target.startsWith("core/")));
  expect(wrong).toEqual([]);
});

test("files have at most 300 lines, folders at most 12 files", () => {
  const all = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((name) => statSync(join(SOURCE, name)).isFile());
  const long = all.filter((name) => readFileSync(join(SOURCE, name), "utf8").split("\n").length > 301);
  const sizes = new Map<string, number>();
  for (const name of all) sizes.set(dirname(name), (sizes.get(dirname(name)) ?? 0) + 1);
  expect([long, [...sizes].filter(([, count]) => count > 12).map(([folder]) => folder)]).toEqual([[], []]);
});
