import { expect, test } from "vitest";
import type { NodeEffect } from "../../api/types";
import { attendedBy, attendingTo, leadingHeads, parseHead } from "./pattern";

const ROWS = [[1], [0.25, 0.75], [0.5, 0.125, 0.375]];

test("a token attends to itself and those before it, and is attended to by those after it", () => {
  expect(attendedBy(ROWS, 2)).toEqual([
    { position: 0, weight: 0.5 },
    { position: 2, weight: 0.375 },
    { position: 1, weight: 0.125 },
  ]);
  expect(attendingTo(ROWS, 0)).toEqual([
    { position: 2, weight: 0.5 },
    { position: 1, weight: 0.25 },
  ]);
  expect(attendingTo(ROWS, 2)).toEqual([]);
  expect(attendedBy(ROWS, 7)).toEqual([]);
});

test("only a whole head is one", () => {
  expect(parseHead("attn.23.3")).toEqual({ layer: 23, index: 3 });
  for (const text of [null, "", "attn.23.3@4", "attn.23.*", "neuron.1.2"]) expect(parseHead(text)).toBeNull();
});

test("heads are offered once, by their direct effect, their parts left out", () => {
  const node = (layer: number, index: number, direct_effect: number, source: number | null = null) =>
    ({ kind: "attn", layer, index, source, direct_effect }) as NodeEffect;
  expect(leadingHeads([node(1, 2, 0.5), node(3, 4, -2), node(1, 2, 1), node(5, 6, 9, 0)], 5)).toEqual([
    "attn.3.4",
    "attn.1.2",
  ]);
});
