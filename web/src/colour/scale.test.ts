import { expect, test } from "vitest";
import { activationOpacity, effectBackground, effectShade, largest } from "./scale";

test("effects keep their sign, zero stays colourless and the largest is full", () => {
  expect(effectShade(0, 3)).toBe(0);
  expect(effectShade(3, 3)).toBe(1);
  expect(effectShade(-3, 3)).toBe(-1);
  expect(effectShade(1, 0)).toBe(0);
  expect(effectShade(0.1, 3)).toBeLessThan(effectShade(0.2, 3));
  expect(effectBackground(0, 3)).toBeUndefined();
  expect(effectBackground(1, 3)).toContain("--toward");
  expect(effectBackground(-1, 3)).toContain("--against");
});

test("activations follow 0.05 + 0.95·log10(1 + 9·v/max)", () => {
  expect(activationOpacity(1, 2)).toBeCloseTo(0.05 + 0.95 * Math.log10(1 + 9 * 0.5), 12);
  expect(activationOpacity(2, 2)).toBeCloseTo(1, 12);
  expect(activationOpacity(0, 2)).toBe(0);
});

test("the largest is the largest size", () => {
  expect(largest([1, -5, 3])).toBe(5);
  expect(largest([])).toBe(0);
});
