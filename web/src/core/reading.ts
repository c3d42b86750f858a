/**
 * Reads any file to one grey-scale image, or refuses it with a code (Python: `imaging.reading`).
 *
 * The format is recognised by the file's first bytes, never by its suffix.
 */

import { damaged, InputError, loaded } from "./errors";
import { foreignFormat, looksLikeDicom, rasterFormat } from "./file-type";
import { MAX_FILE_BYTES, type Radiograph } from "./radiograph";

export async function readImage(data: Uint8Array): Promise<Radiograph> {
  if (!data.length) throw new InputError("empty-file");
  if (data.length > MAX_FILE_BYTES) throw new InputError("too-many-bytes", `${data.length} > ${MAX_FILE_BYTES}`);
  try {
    return await decode(data);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw isOutOfMemory(error) ? new InputError("out-of-memory") : damaged();
  }
}

async function decode(data: Uint8Array): Promise<Radiograph> {
  const raster = rasterFormat(data);
  if (raster) return (await loaded(import("./raster/raster"))).readRaster(data, raster);
  if (looksLikeDicom(data)) return (await loaded(import("./dicom/dicom"))).readDicom(data);
  throw new InputError("unknown-format", foreignFormat(data));
}

function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError && /alloc|memory|length/i.test(error.message);
}
