import { expect, test } from "vitest";
import { barsOf, placeIn } from "./histogram";
import { strongestAt } from "./strongest";

const HISTOGRAM = { edges: [-2, -1, -0.5, 0.5, 1, 2, 4, 8], counts: [0, 2, 5, 2, 0, 1, 0] };

test("the bars go from the first to the last that has a token", () => {
  const bars = barsOf(HISTOGRAM);
  expect(bars.map(({ low, high, count }) => [low, high, count])).toEqual([
    [-1, -0.5, 2],
    [-0.5, 0.5, 5],
    [0.5, 1, 2],
    [1, 2, 0],
    [2, 4, 1],
  ]);
  expect(bars.map(({ share }) => share)).toEqual([0.2, 0.5, 0.2, 0, 0.1]);
  expect(bars.map(({ below }) => below)).toEqual([0, 0.2, 0.7, 0.9, 0.9]);
  expect(barsOf({ edges: [0, 1], counts: [0] })).toEqual([]);
});

test.each([
  [-1, 0, false],
  [0, 1.5, false],
  [0.5, 2, false],
  [3, 4.5, false],
  [4, 5, false],
  [4.01, 5, true],
  [-1.5, 0, true],
])("%d falls on bar %d", (value, x, outside) => {
  expect(placeIn(barsOf(HISTOGRAM), value)).toEqual({ x, outside });
});

test("without bars there is no place", () => {
  expect(placeIn([], 1)).toEqual({ x: 0, outside: true });
});

test("the first token is not the strongest one where there are others", () => {
  expect(strongestAt([900, 1, -3, 2], 1)).toBe(2);
  expect(strongestAt([900, 1, -3, 2], 0)).toBe(0);
  expect(strongestAt([900], 1)).toBe(0);
  expect(strongestAt([], 1)).toBeNull();
});
