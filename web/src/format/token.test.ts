import { expect, test } from "vitest";
import { visible } from "./token";

test.each([
  [" Mary", "␣Mary"],
  ["\n\n", "↵↵"],
  ["\t", "⇥"],
  ["", "∅"],
  ["\u0007", "␇"],
  ["\u009f", "⟨9f⟩"],
  ["né😀", "né😀"],
])("%j shows as %s", (text, shown) => {
  expect(visible(text)).toBe(shown);
});
