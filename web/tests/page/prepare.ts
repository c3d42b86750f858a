/** Before the page's tests: build the page, draw X-rays, let Python answer them. */

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { modelFile } from "../../scripts/offline-plugin";

export const WEB = resolve(import.meta.dirname, "../..");
export const PROJECT = resolve(WEB, "..");
export const SCRATCH = join(WEB, "test-results/page");
export const BUILT = join(SCRATCH, "site");
export const MATERIAL = join(SCRATCH, "material");
export const DRAWN = join(MATERIAL, "synthetic/images");

export interface Answer {
  readonly decision: string;
  readonly probabilities: Record<string, number>;
  readonly reasons: { readonly code: string }[];
}

/** Python's answers by bundle and file name. */
export function answers(): Record<string, Record<string, Answer>> {
  return JSON.parse(readFileSync(join(MATERIAL, "answers.json"), "utf8")) as Record<string, Record<string, Answer>>;
}

export function python(): string {
  return process.env["PYTHON"] ?? join(PROJECT, ".venv/bin/python");
}

export function pythonEnvironment(): NodeJS.ProcessEnv {
  const path = [join(PROJECT, "src"), process.env["PYTHONPATH"]].filter(Boolean).join(delimiter);
  return { ...process.env, PYTHONPATH: path, OMP_NUM_THREADS: "1" };
}

export function build(folder: string, model?: string): void {
  execFileSync("npx", ["vite", "build", "--logLevel", "error", "--outDir", folder, "--emptyOutDir"], {
    cwd: WEB,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, ...(model && { POCKETCXR_MODEL: model }) },
  });
}

export default function prepare(): void {
  rmSync(MATERIAL, { recursive: true, force: true });
  mkdirSync(MATERIAL, { recursive: true });
  build(BUILT);
  execFileSync(python(), [join(PROJECT, "tests/web/page_material.py"), MATERIAL, modelFile()], {
    stdio: ["ignore", "ignore", "inherit"],
    env: pythonEnvironment(),
  });
}
