/** Numbers and text as Python writes them; the expected strings come from Python. */

import { expect, test } from "vitest";
import { fixed, general, grouped, head, percent, repr } from "../../src/core/python-format";

test.each([
  [0.125, "0.12", "0.125", "12%"],
  [0.375, "0.38", "0.375", "38%"],
  [2.675, "2.67", "2.675", "268%"],
  [1e-5, "0.00", "1e-05", "0%"],
  [1234567, "1234567.00", "1.23457e+06", "123456700%"],
  [0.0001, "0.00", "0.0001", "0%"],
  [100000, "100000.00", "100000", "10000000%"],
  [-0.5, "-0.50", "-0.5", "-50%"],
  [12.5, "12.50", "12.5", "1250%"],
  [0.005, "0.01", "0.005", "0%"],
])("%d", (value, twoDigits, shortest, percents) => {
  expect(fixed(value, 2)).toBe(twoDigits);
  expect(general(value)).toBe(shortest);
  expect(percent(value)).toBe(percents);
});

test("ties go to the even digit", () => {
  expect([0.5, 1.5, 2.5, -2.5].map((value) => fixed(value, 0))).toEqual(["0", "2", "2", "-2"]);
});

test("numbers that are none", () => {
  expect([NaN, Infinity, -Infinity].map((value) => fixed(value, 2))).toEqual(["nan", "inf", "-inf"]);
});

test.each([
  ["O'BRIEN", `"O'BRIEN"`],
  [`a"'b`, String.raw`'a"\'b'`],
  ["tab\t", String.raw`'tab\t'`],
  ["é", "'é'"],
  ["\x00\x7f\xa0", String.raw`'\x00\x7f\xa0'`],
  ["\u200b", String.raw`'\u200b'`],
  ["\\", String.raw`'\\'`],
])("repr of %j", (text, expected) => {
  expect(repr(text)).toBe(expected);
});

test("groups of three digits, and characters rather than UTF-16 units", () => {
  expect([7, 1234, 64_000_000].map(grouped)).toEqual(["7", "1,234", "64,000,000"]);
  expect(head("🫁🫁🫁", 2)).toBe("🫁🫁");
});
