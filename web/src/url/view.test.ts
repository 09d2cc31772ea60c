import { expect, test } from "vitest";
import { DEFAULT_VIEW, filtersOf, questionOf, readView, type View, writeView } from "./view";

const EXAMPLE = { prompt: "When Mary", target: " Mary", distractor: " John" };

const FULL: View = {
  prompt: "a b\n&=#%+é😀",
  targets: [" Mary", "\n"],
  distractors: [" John"],
  at: 3,
  bos: true,
  kinds: ["attn", "neuron"],
  layers: [0, 23],
  positions: [13],
  sources: [1],
  top: 100,
  find: "attn.2 ␣to",
  sort: { column: "write_norm", order: "asc" },
  map: "lens",
  strip: "mlp",
  open: ["attn.23.3@13<-1", "bias.final_norm"],
};

test("a view survives the address bar", () => {
  expect(readView(writeView(FULL))).toEqual(FULL);
  expect(readView(writeView(DEFAULT_VIEW))).toEqual(DEFAULT_VIEW);
  expect(writeView(DEFAULT_VIEW)).toBe("");
});

test("what an address cannot mean is ignored", () => {
  const view = readView("?at=-1&kinds=attn,nonsense&layers=1,x,2&sort=nothing.up&map=pie&top=1e9");
  expect(view).toMatchObject({
    at: null,
    kinds: ["attn"],
    layers: [1, 2],
    sort: DEFAULT_VIEW.sort,
    map: "direct",
    top: 30,
  });
});

test("the question is the example until a prompt is given", () => {
  expect(questionOf(DEFAULT_VIEW, undefined)).toBeNull();
  expect(questionOf(DEFAULT_VIEW, EXAMPLE)).toMatchObject({
    prompt: "When Mary",
    targets: [" Mary"],
    distractors: [" John"],
  });
  const own = questionOf({ ...DEFAULT_VIEW, prompt: "" }, EXAMPLE);
  expect(own).toMatchObject({ prompt: "", targets: [], distractors: [], position: null });
});

test("filters are asked for only when the first answer lacks them", () => {
  expect(filtersOf(DEFAULT_VIEW)).toBeNull();
  expect(filtersOf({ ...DEFAULT_VIEW, find: "x", sort: FULL.sort })).toBeNull();
  expect(filtersOf(FULL)).toEqual({
    top: 100,
    threshold: null,
    kinds: ["attn", "neuron"],
    layers: [0, 23],
    positions: [13],
    sources: [1],
  });
});
