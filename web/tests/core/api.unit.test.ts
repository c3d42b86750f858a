import { expect, test } from "vitest";
import { InputError } from "../../src/core/api";

test("an input error carries its code and one line", () => {
  const error = new InputError("unreadable", "a.png: the file is empty; copy it again from its source");
  expect(error.code).toBe("unreadable");
  expect(error.message).not.toContain("\n");
});
