/**
 * The core as the page sees it: open an engine, read an image, predict.
 *
 * The core gives the answers of the Python package with the same codes; everything heavy runs in a Web Worker, and no
 * image leaves the device.
 */

export { openEngine } from "./engine/engine";
export { BundleError, InputError, type Cause } from "./errors";
export type * from "./types";
