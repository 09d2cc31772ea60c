import { describe, expect, test } from "vitest";
import { amount, bytes, count, percent, reached, seconds, short, signed, timeLeft } from "./number";

describe("signed", () => {
  test.each([
    [6.1234, "+6.12"],
    [-0.04567, "−0.0457"],
    [1234, "+1230"],
    [9.9999, "+10.0"],
    [0, "0"],
    [-0, "0"],
    [0.000123, "+1.23e−4"],
    [-3.18e-7, "−3.18e−7"],
    [2_500_000, "+2.50e6"],
    [Number.POSITIVE_INFINITY, "+∞"],
    [null, "–"],
    [Number.NaN, "–"],
  ])("%d is %s", (value, text) => {
    expect(signed(value)).toBe(text);
  });
});

test("shares are percentages without a sign", () => {
  expect([0.921, 0.000123, 1, 0].map(percent)).toEqual(["92.1%", "0.0123%", "100%", "0%"]);
});

test("what cannot be below zero has no sign", () => {
  expect([0.0841, 32, 0, Number.NaN].map(amount)).toEqual(["0.0841", "32.0", "0", "–"]);
});

test("large counts are short", () => {
  expect([0, 950, 1000, 20_480, 300_000, 999_900, 1_500_000, 2e9].map(short)).toEqual([
    "0",
    "950",
    "1k",
    "20.5k",
    "300k",
    "1M",
    "1.5M",
    "2G",
  ]);
});

test("seconds and counts read as a person writes them", () => {
  expect([0.0841, 1.2349].map(seconds)).toEqual(["84 ms", "1.23 s"]);
  expect(count(49152).replace(/\s/u, " ")).toBe("49 152");
});

test("a time that is left reads as a person says it", () => {
  expect([0.4, 42, 130, 3599.9, 7260].map(timeLeft)).toEqual([
    "a moment",
    "42 s",
    "2 min 10 s",
    "1 h 0 min",
    "2 h 1 min",
  ]);
});

test("only all of some work is 100%", () => {
  expect([reached(999, 1000), reached(999, 1000, 1000), reached(1000, 1000), reached(1024, 1000)]).toEqual([
    "99.0%",
    "99.9%",
    "100%",
    "100%",
  ]);
  expect([reached(0, 0), reached(0.296, 1)]).toEqual(["0%", "29.0%"]);
});

test("bytes have their unit apart", () => {
  expect([bytes(0), bytes(950), bytes(1_536_000_000), bytes(999_960)]).toEqual([
    "0 B",
    "950 B",
    "1.54 GB",
    "1 MB",
  ]);
});
