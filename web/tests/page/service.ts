/** `pocketcxr serve` with the page, as people start it. */

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BUILT, python, pythonEnvironment, SCRATCH, WEB } from "./prepare";
import { modelFile } from "../../scripts/offline-plugin";

const SERVE = `
import sys
from pathlib import Path
from pocketcxr.serving.command import run_serve
from pocketcxr.serving.settings import Settings
run_serve(Settings(bundle=Path(sys.argv[1]), page=Path(sys.argv[2]), port=0, workers=1))
`;

/** The page as `make web` packs it into the package: compressed forms, of WebAssembly nothing else; less squeezed, for time. */
export function packed(): string {
  const folder = join(SCRATCH, "packed");
  rmSync(folder, { recursive: true, force: true });
  cpSync(BUILT, folder, { recursive: true });
  execFileSync("node", [join(WEB, "scripts/compress.mjs"), folder, "4"]);
  const assets = join(folder, "assets");
  for (const name of readdirSync(assets)) if (name.endsWith(".wasm")) rmSync(join(assets, name));
  return folder;
}

/** Start the HTTP service with a page; the address stands in its log. */
export function service(page: string): Promise<{ process: ChildProcess; url: string }> {
  const process = spawn(python(), ["-c", SERVE, modelFile(), page], { env: pythonEnvironment() });
  return new Promise((resolve, reject) => {
    let log = "";
    const read = (chunk: Buffer): void => {
      log += chunk.toString();
      const url = /"url": "([^"]+)"/.exec(log)?.[1];
      if (url) resolve({ process, url: `${url}/` });
    };
    process.stdout.on("data", read);
    process.stderr.on("data", read);
    process.on("exit", () => reject(new Error(`the service ended: ${log}`)));
  });
}
