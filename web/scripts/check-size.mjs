/** Adds up what the built page makes a device download, compressed, and fails beyond the budget. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const BUDGET = 8_000_000; // bytes, of everything, by Brotli
const folder = process.argv[2] ?? "dist";

// on demand: only some files need it; the rest comes with the first answer to a JPEG or PNG
const ON_DEMAND = /charls|openjpeg|sha2/;

const brotli = (bytes) =>
  brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 },
  }).length;

const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((path) => statSync(join(folder, path)).isFile() && !path.endsWith(".map"))
  .map((path) => {
    const bytes = readFileSync(join(folder, path));
    return { path, plain: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotli(bytes) };
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
if (!files.some((file) => file.path.endsWith(".onnx"))) console.log("no model is beside the page: its size is not in the sum");
if (total.brotli > BUDGET) {
  console.error(`the page needs ${total.brotli} bytes compressed, the budget is ${BUDGET}: see what grew above`);
  process.exit(1);
}
