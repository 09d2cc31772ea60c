import { expect, test } from "vitest";
import type { SweepCell } from "../../api/types";
import { emptySwathe, headsAt, legendMarks, placeName, strongest, withCells } from "./sweep";

function cell(
  kind: SweepCell["kind"],
  layer: number,
  index: number | null,
  position: number,
  restored: number,
) {
  const place =
    kind === "attn"
      ? `attn.${layer}.${index}@${position}`
      : kind === "mlp"
        ? `neuron.${layer}.*@${position}`
        : `resid.${layer}@${position}`;
  return { place, kind, layer, index, position, value: restored, restored } satisfies SweepCell;
}

test("cells are put where they belong, in whatever order they come", () => {
  let swathe = emptySwathe(3);
  swathe = withCells(swathe, [cell("resid", 2, null, 1, 0.5), cell("attn", 1, 4, 0, -0.25)]);
  swathe = withCells(swathe, [cell("mlp", 0, null, 1, 1.5), cell("attn", 1, 0, 0, 0.125)]);
  expect(swathe.resid[2]?.[1]?.place).toBe("resid.2@1");
  expect(swathe.mlp[0]?.[1]?.restored).toBe(1.5);
  expect(swathe.mlp[1]?.[1]).toBeUndefined();
  expect(headsAt(swathe, 1, 0).map(({ place }) => place)).toEqual(["attn.1.4@0", "attn.1.0@0"]);
  expect(headsAt(swathe, 2, 0)).toEqual([]);
  expect(swathe.largest).toBe(1.5);
});

test("the strongest are those of the largest share, restored or undone", () => {
  const swathe = withCells(emptySwathe(2), [
    cell("attn", 0, 1, 0, 0.2),
    cell("attn", 1, 0, 3, -0.9),
    cell("attn", 1, 2, 1, 0.4),
  ]);
  expect(strongest(swathe, "attn", 2).map(({ place }) => place)).toEqual(["attn.1.0@3", "attn.1.2@1"]);
  expect(strongest(swathe, "mlp", 2)).toEqual([]);
});

test("the legend always shows nothing and all of the difference, and its ends beyond them", () => {
  expect(legendMarks(0.3)).toEqual([-1, 0, 1]);
  expect(legendMarks(2.5)).toEqual([-2.5, -1, 0, 1, 2.5]);
});

test("a place is named by what it is", () => {
  expect(placeName({ kind: "attn", layer: 23, index: 3 })).toBe("head 23.3");
  expect(placeName({ kind: "resid", layer: 4, index: null })).toBe("stream after 4");
  expect(placeName({ kind: "mlp", layer: 4, index: null })).toBe("MLP 4");
});
