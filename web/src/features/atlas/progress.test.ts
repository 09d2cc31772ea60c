import { expect, test } from "vitest";
import { shareDone } from "./progress";

test("a collection goes from nothing to everything and never back", () => {
  const at = (stage: "read" | "collect" | "merge", done: number) =>
    shareDone({ stage, done, total: 100, tokens_per_s: null, seconds_left: null, note: null });
  const shares = [at("read", 0), at("read", 100), at("collect", 0), at("collect", 50), at("collect", 100)];
  expect([...shares, at("merge", 0), at("merge", 100)]).toEqual([0, 0.03, 0.03, 0.49, 0.95, 0.95, 1]);
  expect(
    shareDone({ stage: "merge", done: 0, total: 0, tokens_per_s: null, seconds_left: null, note: null }),
  ).toBe(0.95);
});
