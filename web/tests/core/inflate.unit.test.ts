/** Inflating keeps no more than its limit, whatever a stream holds. */

import { constants, deflateRawSync, deflateSync, inflateRawSync, inflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { inflate } from "../../src/core/codecs/inflate";

const MEGABYTE = 2 ** 20;
const DEFLATED = { raw: deflateRawSync, zlib: deflateSync };
const INFLATED = { raw: inflateRawSync, zlib: inflateSync };

for (const kind of ["raw", "zlib"] as const) {
  test(`${kind}: the whole of a sound stream, in parts`, async () => {
    const data = Uint8Array.from({ length: 3 * MEGABYTE }, (_, index) => (index * index) >> 5);
    const deflated = DEFLATED[kind](data);
    const { bytes, fault } = await inflate([deflated.subarray(0, 999), deflated.subarray(999)], 4 * MEGABYTE, kind);
    expect(fault).toBe(false);
    expect(Buffer.compare(bytes, data)).toBe(0);
  });

  test(`${kind}: a stream that ends early is a fault, and gives what is there`, async () => {
    const data = Uint8Array.from({ length: MEGABYTE }, (_, index) => (index * index) >> 5);
    const deflated = DEFLATED[kind](data);
    const { bytes, fault } = await inflate([deflated.subarray(0, deflated.length / 2)], 4 * MEGABYTE, kind);
    expect(fault).toBe(true);
    const there = INFLATED[kind](deflated.subarray(0, deflated.length / 2), { finishFlush: constants.Z_SYNC_FLUSH });
    expect(there.length).toBeGreaterThan(MEGABYTE / 16);
    expect(Buffer.compare(bytes, there)).toBe(0);
  });

  test(`${kind}: of a stream of 400 MB no more than the limit is kept or made`, async () => {
    const bomb = DEFLATED[kind](new Uint8Array(400 * MEGABYTE));
    const before = process.memoryUsage().arrayBuffers;
    const { bytes, fault } = await inflate([bomb], 5 * MEGABYTE, kind);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(150 * MEGABYTE);
    expect([bytes.length, fault]).toEqual([5 * MEGABYTE, false]);
  }, 60_000); // deflating the bomb takes seconds on a busy machine
}
