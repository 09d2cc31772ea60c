import { expect, test } from "vitest";
import { firstDifference, type Generated } from "./continuation";

function tokens(...ids: number[]): Generated[] {
  return ids.map((id, position) => ({ position, id, text: ` ${id}`, probability: 0.5 }));
}

test("two continuations differ where their tokens do, not where one has come further", () => {
  expect(firstDifference(tokens(1, 2, 3), tokens(1, 5, 3))).toBe(1);
  expect(firstDifference(tokens(4), tokens(1, 5, 3))).toBe(0);
  expect(firstDifference(tokens(1, 2, 3), tokens(1, 2))).toBeNull();
  expect(firstDifference([], tokens(1))).toBeNull();
});
