/** The one specification of resizing; the expected pixels come from `pocketcxr.imaging.resize`. */

import { expect, test } from "vitest";
import { resize } from "../../src/core/resize";

const PICTURE = Float32Array.of(
  0.512, 0.95, 0.144, 0.949, 0.312, 0.423, 0.828, 0.409, 0.55, 0.028, 0.754, 0.538, 0.33, 0.788, 0.303, 0.453, 0.134,
  0.403, 0.203, 0.262, 0.75, 0.28, 0.485, 0.981, 0.962, 0.725, 0.541, 0.277, 0.161, 0.97, 0.516, 0.116, 0.623, 0.777,
  0.613,
); // 5 rows of 7

function expectClose(found: Float32Array, expected: number[]): void {
  expect(found.length).toBe(expected.length);
  for (const [at, value] of expected.entries()) expect(Math.abs(found[at]! - value)).toBeLessThan(1e-7);
}

test("squash takes each axis on its own", () => {
  expectClose(resize(PICTURE, 7, 5, { size: 3, aspect: "squash" }), [
    0.5209693908691406, 0.5430756211280823, 0.5414081811904907, 0.385230153799057, 0.46033987402915955,
    0.4629761874675751, 0.5556224584579468, 0.6068235635757446, 0.6000204086303711,
  ]);
});

test("pad keeps the shape and stands on black", () => {
  expectClose(resize(PICTURE, 7, 5, { size: 4, aspect: "pad" }), [
    0.5832312703132629, 0.4470628798007965, 0.5315542817115784, 0.6084081530570984, 0.3890264630317688,
    0.42110222578048706, 0.44187554717063904, 0.5062910318374634, 0.4717414975166321, 0.6583771109580994,
    0.6158628463745117, 0.5670680403709412, 0, 0, 0, 0,
  ]);
});

test("enlarging interpolates", () => {
  expectClose(resize(PICTURE, 7, 5, { size: 9, aspect: "squash" }).subarray(0, 12), [
    0.5120000243186951, 0.8040000200271606, 0.5917777419090271, 0.32288888096809387, 0.9490000009536743,
    0.45355555415153503, 0.3736666738986969, 0.5580000281333923, 0.828000009059906, 0.4776666760444641,
    0.7036666870117188, 0.5005185008049011,
  ]);
});

test("its own size changes nothing", () => {
  const square = PICTURE.subarray(0, 25);
  expectClose(resize(square, 5, 5, { size: 5, aspect: "squash" }), [...square]);
});
