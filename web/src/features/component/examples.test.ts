import { expect, test } from "vitest";
import { bandName, upToPeak } from "./examples";
import { strongestInto, strongestOutOf, strongestPairs } from "./pairs";

test("an example opens with its text up to and with its strongest token", () => {
  expect(upToPeak({ text: "a b c", tokens: ["a", " b", " c"], peak: 1 })).toBe("a b");
  expect(upToPeak({ text: "a b c", tokens: ["a", " b", " c"], peak: 2 })).toBe("a b c");
});

test("characters that tokens share are taken from the text", () => {
  const tokens = ["x", "\ufffd", "\ufffd", " y"];
  expect(upToPeak({ text: "x😀 y", tokens, peak: 2 })).toBe("x😀");
  // Half a character cannot be typed: the tokens are put together as they are.
  expect(upToPeak({ text: "x😀 y", tokens, peak: 1 })).toBe("x\ufffd");
});

test("a band says its range and how rare it is", () => {
  const band = { examples: [], contexts: 4, low: 2, high: 4 };
  expect(bandName({ ...band, quantile_low: 0.997, quantile_high: 1 })).toBe("+2.00 to +4.00: top 0.300%");
  expect(bandName({ ...band, quantile_low: 0.988, quantile_high: 0.997 })).toBe(
    "+2.00 to +4.00: top 0.300% to 1.20%",
  );
  const unsaid = { ...band, quantile_low: null, quantile_high: null };
  expect(bandName(unsaid)).toBe("+2.00 to +4.00");
  expect(bandName({ ...unsaid, high: null })).toBe("from +2.00");
  expect(bandName({ ...unsaid, low: null })).toBe("below +4.00");
  expect(bandName({ ...unsaid, low: null, high: null })).toBe("a quantile");
});

test("the strongest pairs are named, those without any value are not", () => {
  const rows = [[0], [3, 0], [1, 2, 0]];
  expect(strongestPairs(rows, 2)).toEqual([
    { at: 1, from: 0, value: 3 },
    { at: 2, from: 1, value: 2 },
  ]);
  expect(strongestInto(rows, 2, 9).map(({ from }) => from)).toEqual([1, 0]);
  expect(strongestOutOf(rows, 0, 9).map(({ at }) => at)).toEqual([1, 2]);
  expect(strongestOutOf(rows, 2, 9)).toEqual([]);
});
