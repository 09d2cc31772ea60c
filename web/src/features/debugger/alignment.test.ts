import { expect, test } from "vitest";
import { columnsOf, countPairs, paired, same, unpaired, usable } from "./alignment";

/** Columns as text: "0:0" a pair, "1:" and ":2" tokens without a counterpart. */
function spelled(pairs: readonly (number | null)[], secondLength: number): string {
  return columnsOf(pairs, secondLength)
    .map(({ first, second }) => `${first ?? ""}:${second ?? ""}`)
    .join(" ");
}

test("every token has one column, and what has no counterpart stands where it would be read", () => {
  expect(spelled([0, 1, 2], 3)).toBe("0:0 1:1 2:2");
  expect(spelled([0, 3, 4], 5)).toBe("0:0 :1 :2 1:3 2:4");
  expect(spelled([0, null, 1], 2)).toBe("0:0 1: 2:1");
  expect(spelled([2, 3], 5)).toBe(":0 :1 0:2 1:3 :4");
  expect(spelled([null, null], 2)).toBe(":0 :1 0: 1:");
});

test("pairs that cross keep the order of the first prompt", () => {
  expect(spelled([1, 0], 3)).toBe("0:1 :2 1:0");
});

test("a new pair takes both its tokens out of their old ones", () => {
  expect(paired([0, 1, 2], 0, 2)).toEqual([2, 1, null]);
  expect(paired([null, 0], 0, 0)).toEqual([0, null]);
  expect(unpaired([0, 1], 1)).toEqual([0, null]);
  expect(countPairs([0, null, 2])).toBe(2);
});

test("an alignment that was made for other prompts is not used", () => {
  expect(usable([1, 0], [0, 1], 2)).toEqual([1, 0]);
  expect(usable([1, 0, 2], [0, 1], 2)).toEqual([0, 1]);
  expect(usable([5, 0], [0, 1], 2)).toEqual([0, 1]);
  expect(usable(null, [0, 1], 2)).toEqual([0, 1]);
  expect(same([0, null], [0, null])).toBe(true);
  expect(same([0, null], [0, 1])).toBe(false);
});
