/** Before the browser tests: build the core for the browser, and let Python answer. */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";

export const WEB = resolve(import.meta.dirname, "../..");
export const PROJECT = resolve(WEB, "..");
export const SCRATCH = join(WEB, "test-results/core");
export const HARNESS = join(SCRATCH, "harness");
export const WEIGHTS = join(PROJECT, "src/pocketcxr/bundle/weights");

/** The bundle for browsers, where there is one, else the one for all; its address under WEIGHTS. */
const BUNDLES = ["browser/covid-3class.onnx", "covid-3class.onnx"];
export const BUNDLE = BUNDLES.find((file) => existsSync(join(WEIGHTS, file)))!;

/** Real files, where this machine has them: X-rays, and any folders of one's own. */
export function realFolders(): string[] {
  const data = process.env["POCKETCXR_DATA"];
  const more = process.env["POCKETCXR_PARITY_FOLDERS"]?.split(delimiter) ?? [];
  return [...(data ? ["dicom", "full_size"].map((folder) => join(data, folder)) : []), ...more].filter(existsSync);
}

export function python(): string {
  return process.env["PYTHON"] ?? join(PROJECT, ".venv/bin/python");
}

export default function prepare(): void {
  mkdirSync(SCRATCH, { recursive: true });
  const config = join(WEB, "tests/core/harness/vite.config.ts");
  const build = ["vite", "build", "--logLevel", "error", "--config", config, "--outDir", HARNESS, "--emptyOutDir"];
  execFileSync("npx", build, {
    cwd: WEB,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const script = join(PROJECT, "tests/web/expected_answers.py");
  const path = [join(PROJECT, "src"), process.env["PYTHONPATH"]].filter(Boolean).join(delimiter);
  execFileSync(python(), [script, join(WEIGHTS, BUNDLE), SCRATCH, ...realFolders()], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, PYTHONPATH: path, OMP_NUM_THREADS: "1" },
  });
}
