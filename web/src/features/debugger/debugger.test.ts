import { expect, test } from "vitest";
import type { NodeEffect, Question } from "../../api/types";
import { DEFAULT_VIEW } from "../../url/view";
import { toCsv, toPython } from "./exports";
import { cellFilters } from "./maps";
import { columnsOf, matching, maximaOf, sorted } from "./nodeRows";
import { waterfall } from "./waterfall";

function node(id: string, direct: number, more: Partial<NodeEffect> = {}): NodeEffect {
  return {
    id,
    kind: "attn",
    layer: 1,
    index: 0,
    position: 2,
    source: null,
    activation: 1,
    write_norm: 1,
    direct_effect: direct,
    estimated_effect: 0,
    verified_effect: null,
    ...more,
  };
}
const PLAIN: Question = {
  prompt: "a",
  targets: [],
  distractors: [],
  position: null,
  bos: false,
  edits: [],
  second: null,
  alignment: null,
  trace: [],
};
const TOKENS = [" the", " cat", " sat"].map((text, position) => ({ position, id: position, text }));

test("each step of the waterfall starts where the last one ended", () => {
  const fall = waterfall([
    { step: "embed", layer: null, direct_effect: 1, estimated_effect: 0 },
    { step: "attn", layer: 0, direct_effect: -3, estimated_effect: 0 },
    { step: "bias", layer: null, direct_effect: 2.5, estimated_effect: 0 },
  ]);
  expect(fall.steps.map(({ start, end }) => [start, end])).toEqual([
    [0, 1],
    [1, -2],
    [-2, 0.5],
  ]);
  expect([fall.low, fall.high, fall.end]).toEqual([-2, 1, 0.5]);
});

test("sorting is by size, then down, then up, and what is missing comes last", () => {
  const rows = [node("a", 1), node("b", -3), node("c", 2), node("d", 0, { activation: null })];
  const ids = (column: "direct_effect" | "activation", order: "size" | "desc" | "asc") =>
    sorted(rows, { column, order })
      .map(({ id }) => id)
      .join("");
  expect(ids("direct_effect", "size")).toBe("bcad");
  expect(ids("direct_effect", "desc")).toBe("cadb");
  expect(ids("direct_effect", "asc")).toBe("bdac");
  expect(ids("activation", "asc").endsWith("d")).toBe(true);
});

test("a filter finds ids and tokens, every word of it", () => {
  const rows = [node("attn.1.0@2", 1), node("attn.1.0@2<-1", 1, { source: 1 })];
  expect(matching(rows, "CAT", TOKENS).map(({ id }) => id)).toEqual(["attn.1.0@2<-1"]);
  expect(matching(rows, "attn sat", TOKENS)).toHaveLength(2);
  expect(matching(rows, "attn dog", TOKENS)).toHaveLength(0);
  expect(matching(rows, " ", TOKENS)).toBe(rows);
});

test("activations are compared within their unit only", () => {
  const rows = [
    node("attn.1.0@2", 1, { activation: 9 }),
    node("attn.1.0@2<-1", 1, { source: 1, activation: 0.5 }),
  ];
  expect(maximaOf(rows).activation).toEqual({ attn: 9, part: 0.5 });
});

test("verified effects have a column once there is one", () => {
  expect(columnsOf([node("a", 1)]).map(({ column }) => column)).not.toContain("verified_effect");
  expect(columnsOf([node("a", 1, { verified_effect: 1 })]).map(({ column }) => column)).toContain(
    "verified_effect",
  );
});

test("a cell of a map stands for the nodes that it adds together", () => {
  expect(cellFilters("direct", 24, 1, 13)).toEqual({
    kinds: [],
    layers: [23],
    positions: [13],
    sources: [1],
  });
  expect(cellFilters("direct", 24, 13, 13)).toEqual({
    kinds: [],
    layers: [23],
    positions: [13],
    sources: [],
  });
  expect(cellFilters("estimated", 24, 1, 13)).toEqual({
    kinds: [],
    layers: [23],
    positions: [1],
    sources: [],
  });
  expect(cellFilters("estimated", 0, 1, 13)).toMatchObject({ kinds: ["embed"], positions: [1] });
});

test("CSV quotes what must be and leaves out what is not there", () => {
  const [header, row, end] = toCsv([node('a,"b', 0.5)]).split("\r\n");
  expect(header).toMatch(/^id,kind,layer,index,position,source,activation/);
  expect(row).toBe('"a,""b",attn,1,0,2,,1,1,0.5,0,');
  expect(end).toBe("");
});

test("the Python program spells every text and every filter", () => {
  const program = toPython(
    "smollm2",
    {
      ...PLAIN,
      prompt: 'a "b"\n\\',
      targets: [" x"],
      distractors: [" y", "\u007f"],
      position: 2,
      bos: true,
    },
    { ...DEFAULT_VIEW, kinds: ["attn"], layers: [3] },
  );
  expect(program).toContain('    "a \\"b\\"\\n\\\\",');
  expect(program).toContain('    target=" x",');
  expect(program).toContain('    distractor=[" y", "\\u007f"],');
  expect(program).toContain("position=2");
  expect(program).toContain("bos=True");
  expect(program).toContain('run.nodes(top=30, kinds=["attn"], layers=[3])');
});
