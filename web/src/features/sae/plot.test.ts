import { describe, expect, test } from "vitest";
import { drawn, type Line, logTicks, nearest, padded, pathOf, rangeOf, scale, ticks } from "./plot";

const WIDTH = 300;

test("ten thousand points are drawn by at most four a pixel, and no peak is lost", () => {
  const x = Array.from({ length: 10_000 }, (_, i) => i);
  const y = x.map((i) => Math.sin(i / 300) + (i === 7777 ? 50 : 0));
  const line: Line = { x, y };
  const points = drawn(line, scale({ low: 0, high: 9999 }, 0, WIDTH), (value) => value);
  expect(points.length).toBeLessThanOrEqual(4 * (WIDTH + 1));
  const heights = points.map((point) => point?.[1] ?? 0);
  expect(Math.max(...heights)).toBe(Math.max(...y));
  expect(Math.min(...heights)).toBe(Math.min(...y));
  expect(points[0]).toEqual([0, y[0]]);
  expect(points.at(-1)).toEqual([WIDTH, y.at(-1)]);
  // In order, so that the line never runs back.
  const across = points.map((point) => point?.[0] ?? 0);
  expect(across).toEqual([...across].sort((a, b) => a - b));
});

test("what was not measured is bridged, and what is not a number breaks the line", () => {
  const same = (value: number) => value;
  const gaps = drawn({ x: [0, 10, 20], y: [1, null, 3] }, same, same);
  expect(pathOf(gaps)).toBe("M0.0 1.0L20.0 3.0");
  const broken = drawn({ x: [0, 10, 20, 30], y: [1, Number.NaN, 3, 4] }, same, same);
  expect(pathOf(broken)).toBe("M0.0 1.0M20.0 3.0L30.0 4.0");
  expect(pathOf(drawn({ x: [0, 10], y: [0, 5] }, same, same, true))).toBe("M10.0 5.0");
});

test("the range is that of what can be drawn", () => {
  const line: Line = { x: [0, 1, 2, 3], y: [0, null, Number.POSITIVE_INFINITY, 4] };
  expect(rangeOf([line])).toEqual({ low: 0, high: 4 });
  expect(rangeOf([line], true)).toEqual({ low: 4, high: 4 });
  expect(rangeOf([{ x: [0], y: [null] }])).toBeNull();
});

test("padding never goes below zero for what is never below it", () => {
  expect(padded({ low: 0.01, high: 1 }).low).toBe(0);
  expect(padded({ low: -1, high: 1 }).low).toBeLessThan(-1);
  expect(padded({ low: 3, high: 3 })).toEqual({ low: 1.5, high: 4.5 });
  expect(padded({ low: 1, high: 1 }, true).low).toBeGreaterThan(0);
});

describe("ticks", () => {
  test.each([
    [{ low: 0, high: 1 }, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [{ low: 0, high: 300_000 }, 3, [0, 100_000, 200_000, 300_000]],
    [{ low: -0.3, high: 0.3 }, 3, [-0.2, 0, 0.2]],
    [{ low: 2, high: 2 }, 3, [2]],
  ])("of %j are round", (range, n, wanted) => {
    expect(ticks(range, n)).toEqual(wanted);
  });

  test.each([
    [{ low: 0.01, high: 10 }, 4, [0.01, 0.1, 1, 10]],
    [{ low: 1e-6, high: 1 }, 4, [1e-6, 1e-4, 1e-2, 1]],
    [{ low: 0.15, high: 0.6 }, 4, [0.2, 0.5]],
  ])("of a logarithmic %j are round", (range, n, wanted) => {
    const found = logTicks(range, n);
    expect(found).toHaveLength(wanted.length);
    for (const [i, value] of found.entries()) expect(value).toBeCloseTo(wanted[i] as number, 12);
  });
});

test("the nearest point is one that was measured", () => {
  const line: Line = { x: [0, 10, 20, 30], y: [1, null, null, 4] };
  expect(nearest(line, 12)).toBe(0);
  expect(nearest(line, 18)).toBe(3);
  expect(nearest(line, 99)).toBe(3);
  expect(nearest(line, -5)).toBe(0);
  expect(nearest({ x: [1], y: [null] }, 1)).toBeNull();
});
