/** Copies the built page into the Python package, for `pocketcxr serve`. */

import { cpSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";

const web = join(import.meta.dirname, "..");
const page = join(web, "../src/pocketcxr/serving/static");

rmSync(page, { recursive: true, force: true });
// of WebAssembly only the compressed forms: the service inflates them for whoever takes neither
const kept = (path) => !path.endsWith(".wasm") || !existsSync(`${path}.gz`);
cpSync(join(web, "dist"), page, { recursive: true, filter: kept });
