import { expect, test } from "vitest";
import type { TrainPoint } from "../../api/types";
import { binsUsed, columnsOf, totalOf } from "./density";

function point(tokens: number, counts: number[], below: number): TrainPoint {
  return { tokens, density: { edges: [-2, -1, 0], counts, below } } as TrainPoint;
}

test("a log longer than the columns is averaged into them", () => {
  const points = Array.from({ length: 100 }, (_, i) =>
    point(10 * (i + 1), i < 50 ? [10, 0] : [0, 5], i < 50 ? 0 : 5),
  );
  const columns = columnsOf(points, 4);
  expect(columns.map(({ from, to }) => [from, to])).toEqual([
    [0, 250],
    [250, 500],
    [500, 750],
    [750, 1000],
  ]);
  expect(columns.map(({ shares }) => shares)).toEqual([
    [1, 0],
    [1, 0],
    [0, 0.5],
    [0, 0.5],
  ]);
  expect(columns.map(({ never }) => never)).toEqual([0, 0, 0.5, 0.5]);
});

test("a short log has a column for each of its rows, and they leave no gap", () => {
  const columns = columnsOf([point(10, [1, 3], 0), point(200, [2, 2], 0)], 50);
  expect(columns).toEqual([
    { from: 0, to: 10, shares: [0.25, 0.75], never: 0 },
    { from: 10, to: 200, shares: [0.5, 0.5], never: 0 },
  ]);
  expect(columnsOf([], 50)).toEqual([]);
});

test("bins that nothing was ever in are left out at the ends", () => {
  const histogram = (counts: number[], below = 0) => ({ edges: [], counts, below });
  expect(binsUsed([histogram([0, 0, 3, 0, 0]), histogram([0, 0, 0, 2, 0])])).toEqual({ first: 2, last: 3 });
  expect(binsUsed([histogram([0, 0], 7)])).toEqual({ first: 0, last: 1 });
  expect(totalOf(histogram([1, 2], 7))).toBe(10);
});
