/**
 * Puts compressed forms (.br, .gz) beside the built page's files, for `pocketcxr serve` and for web hosts that look for
 * them. Same files, same bytes: no time or name goes into them.
 *
 * What hardly shrinks has none: pictures, and the model, whose download can then go on where it broke off.
 */

import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const MOST = 0.85; // of the plain size
const [folder = "dist", quality = String(constants.BROTLI_MAX_QUALITY)] = process.argv.slice(2);

const brotli = (bytes) =>
  brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: Number(quality),
      [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });

for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
  const path = join(folder, name);
  if (!statSync(path, { throwIfNoEntry: false })?.isFile() || /\.(br|gz|map)$/.test(name)) continue;
  const bytes = readFileSync(path);
  const zipped = gzipSync(bytes, { level: constants.Z_BEST_COMPRESSION });
  const pays = zipped.length <= MOST * bytes.length;
  for (const [suffix, form] of [[".gz", () => zipped], [".br", () => brotli(bytes)]]) {
    if (pays) writeFileSync(path + suffix, form());
    else rmSync(path + suffix, { force: true });
  }
}
