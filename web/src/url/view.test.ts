import { expect, test } from "vitest";
import { DEFAULT_VIEW, filtersOf, isOff, questionOf, readView, switched, type View, writeView } from "./view";

const EXAMPLE = { prompt: "When Mary", target: " Mary", distractor: " John" };

const FULL: View = {
  prompt: "a b\n&=#%+é😀",
  targets: [" Mary", "\n"],
  distractors: [" John"],
  at: 3,
  bos: true,
  autoencoders: ["a training/mlp_out.10-topk", "one, two"],
  kinds: ["attn", "latent"],
  layers: [0, 23],
  positions: [13],
  sources: [1],
  top: 100,
  find: "attn.2 ␣to",
  sort: { column: "write_norm", order: "asc" },
  map: "lens",
  strip: "mlp",
  open: ["attn.23.3@13<-1", "bias.final_norm"],
  edits: ["zero:attn.23.3@13", "!scale:neuron.5.200@3,5=-2.5", "cut:attn.23.3@13<-9"],
  second: "c d & e",
  secondAt: 2,
  alignment: [0, 1, null, 3],
  trace: ["attn.23.3@13<-9:q", "neuron.20.5@9:both"],
  compare: "second",
  verify: 100,
  measured: ["attn.1.5@1", "attn.23.3@13<-9"],
  ablation: "resample",
  renormalise: true,
  disagree: true,
  sweep: true,
  generate: true,
  sampling: { n: 48, temperature: 0.8, seed: 7 },
  head: "attn.23.3",
};

test("a view survives the address bar", () => {
  expect(readView(writeView(FULL))).toEqual(FULL);
  expect(readView(writeView(DEFAULT_VIEW))).toEqual(DEFAULT_VIEW);
  expect(writeView(DEFAULT_VIEW)).toBe("");
});

test("no autoencoder at all is another view than those of the server", () => {
  const none: View = { ...DEFAULT_VIEW, autoencoders: [] };
  expect(readView(writeView(none))).toEqual(none);
  expect(readView("").autoencoders).toBeNull();
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
  expect(questionOf(DEFAULT_VIEW, undefined, [])).toBeNull();
  expect(questionOf(DEFAULT_VIEW, EXAMPLE, undefined)).toBeNull();
  expect(questionOf(DEFAULT_VIEW, EXAMPLE, ["a/b"])).toMatchObject({
    autoencoders: ["a/b"],
    prompt: "When Mary",
    targets: [" Mary"],
    distractors: [" John"],
  });
  const own = questionOf({ ...DEFAULT_VIEW, prompt: "" }, EXAMPLE, []);
  expect(own).toMatchObject({ prompt: "", targets: [], distractors: [], position: null });
});

test("the question has the edits that are switched on, the second prompt and the trace", () => {
  expect(questionOf(FULL, undefined, undefined)).toMatchObject({
    edits: ["zero:attn.23.3@13", "cut:attn.23.3@13<-9"],
    second: { prompt: "c d & e", position: 2 },
    alignment: [0, 1, null, 3],
    trace: ["attn.23.3@13<-9:q", "neuron.20.5@9:both"],
  });
  expect(questionOf({ ...DEFAULT_VIEW, autoencoders: [] }, EXAMPLE, ["a/b"])).toMatchObject({
    edits: [],
    second: null,
    alignment: null,
    trace: [],
  });
  expect(switched(switched("zero:attn.0.0"))).toBe("zero:attn.0.0");
  expect(isOff(switched("zero:attn.0.0"))).toBe(true);
});

test("filters are asked for only when the first answer lacks them", () => {
  expect(filtersOf(DEFAULT_VIEW)).toBeNull();
  expect(filtersOf({ ...DEFAULT_VIEW, find: "x", sort: FULL.sort })).toBeNull();
  expect(filtersOf(FULL)).toEqual({
    top: 100,
    threshold: null,
    kinds: ["attn", "latent"],
    layers: [0, 23],
    positions: [13],
    sources: [1],
  });
});
