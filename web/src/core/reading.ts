/**
 * From any file to one grey picture, or one clear line that says why not (Python: `imaging.reading`).
 *
 * The format is recognised by the file's first bytes, never by its suffix.
 */

import { DecodeFault, InputError, loaded, NotLoadedError, unreadable } from "./failures";
import { grouped } from "./python-format";
import { MAX_FILE_BYTES, type Radiograph } from "./radiograph";
import { foreignFormat, looksLikeDicom, rasterFormat } from "./signatures";

export async function readImage(data: Uint8Array, name: string): Promise<Radiograph> {
  if (!data.length) throw unreadable(`${name}: the file is empty; copy it again from its source`);
  if (data.length > MAX_FILE_BYTES) {
    throw unreadable(
      `${name}: ${grouped(data.length)} bytes are more than the ${grouped(MAX_FILE_BYTES)} that are read`,
    );
  }
  try {
    return await decode(data, name);
  } catch (error) {
    if (error instanceof InputError) throw error;
    if (isOutOfMemory(error)) {
      throw unreadable(`${name}: this device has not enough memory for the picture; reduce it first`);
    }
    if (error instanceof NotLoadedError) {
      throw unreadable(`${name}: the decoder for this file could not be loaded; check the connection and try again`);
    }
    const fault = error instanceof DecodeFault ? error.pythonName : "RuntimeError";
    throw unreadable(`${name}: the picture is damaged (${fault} while decoding); export it again`);
  }
}

async function decode(data: Uint8Array, name: string): Promise<Radiograph> {
  const raster = rasterFormat(data);
  if (raster) return (await loaded(import("./raster/raster"))).readRaster(data, raster, name);
  if (looksLikeDicom(data)) return (await loaded(import("./dicom/dicom"))).readDicom(data, name);
  throw unreadable(
    `${name}: expected DICOM, PNG, JPEG, BMP, TIFF or WebP, found ${foreignFormat(data)}; export one of those`,
  );
}

function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError && /alloc|memory|length/i.test(error.message);
}
