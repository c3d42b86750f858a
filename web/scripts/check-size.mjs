/** Adds up what the built page makes a device download, as compress.mjs has left it, and fails beyond the budget. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const BUDGET = 8_000_000; // bytes, of everything, by Brotli where there is such a form
const folder = process.argv[2] ?? "dist";

// on demand: only some files need it; the rest comes with the first answer to a JPEG or PNG
const ON_DEMAND = /charls|openjpeg|sha2/;

const size = (path) => statSync(path).size;
const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => statSync(join(folder, name)).isFile() && !/\.(br|gz|map)$/.test(name))
  .map((name) => {
    const path = join(folder, name);
    const sent = (suffix) => size(existsSync(path + suffix) ? path + suffix : path);
    return { path: name, plain: size(path), gzip: sent(".gz"), brotli: sent(".br") };
  })
  .sort((a, b) => b.brotli - a.brotli);

const sum = (rows) => ({
  plain: rows.reduce((total, row) => total + row.plain, 0),
  gzip: rows.reduce((total, row) => total + row.gzip, 0),
  brotli: rows.reduce((total, row) => total + row.brotli, 0),
});
const kb = (bytes) => `${Math.round(bytes / 1000).toLocaleString("en-US")}`.padStart(9);
const line = (name, row) => console.log(`${name.padEnd(56)}${kb(row.plain)}${kb(row.gzip)}${kb(row.brotli)}`);

console.log(`${"file, kB".padEnd(56)}${"plain".padStart(9)}${"gzip".padStart(9)}${"brotli".padStart(9)}`);
const shown = files.filter((file) => file.brotli >= 2000);
for (const file of shown) line(file.path, file);
line(`${files.length - shown.length} smaller files`, sum(files.filter((file) => file.brotli < 2000)));
line("needed for the first answer", sum(files.filter((file) => !ON_DEMAND.test(file.path))));
const total = sum(files);
line("all", total);
if (!files.some((file) => file.path.endsWith(".onnx"))) console.log("without a model: none is beside the page");
if (total.brotli > BUDGET) {
  console.error(`the page needs ${total.brotli} bytes compressed, the budget is ${BUDGET}: see what grew above`);
  process.exit(1);
}
