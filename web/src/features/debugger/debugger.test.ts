import { expect, test } from "vitest";
import { Failure } from "../../api/client";
import type { Question } from "../../api/types";
import { DEFAULT_VIEW, type View } from "../../url/view";
import {
  editsWith,
  everywhere,
  moved,
  noEdit,
  noVerify,
  opsAt,
  readEdit,
  toggledAblations,
  withEdits,
  writeEdit,
} from "./edits";
import { toCsv, toPython } from "./exports";
import { placeOf } from "./failures";
import { cellFilters } from "./maps";
import {
  columnsOf,
  comparedRows,
  disagrees,
  matching,
  maximaOf,
  type Row,
  rowsOf,
  sorted,
  sortIn,
  valueIn,
} from "./nodeRows";
import { ticks } from "./ScatterPlot";
import { explained, noTrace, readingAt, readStep, waysOf } from "./trace";
import { waterfall } from "./waterfall";

function node(id: string, direct: number, more: Partial<Row> = {}): Row {
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
    disagreement: null,
    change: null,
    ...more,
  };
}
const PLAIN: Question = {
  prompt: "a",
  targets: [],
  distractors: [],
  position: null,
  bos: false,
  autoencoders: [],
  edits: [],
  second: null,
  alignment: null,
  trace: [],
};
const TOKENS = [" the", " cat", " sat"].map((text, position) => ({ position, id: position, text }));

const NO_FILTERS = { kinds: [], layers: [], positions: [], sources: [] };

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

test("verified effects have a column once there is one, and a comparison both sides and their difference", () => {
  const names = (...of: Parameters<typeof columnsOf>) => columnsOf(...of).map(({ column }) => column);
  expect(names("D", null, false)).not.toContain("verified_effect");
  expect(names("D", null, true)).toEqual(expect.arrayContaining(["verified_effect", "disagreement"]));
  const compared = names("S", "edited", false);
  expect(compared).toEqual(expect.arrayContaining(["direct_left", "direct_difference", "estimated_right"]));
  expect(compared).not.toContain("direct_effect");
  const sort = { column: "estimated_effect", order: "size" } as const;
  expect(sortIn(sort, columnsOf("D", "second", false)).column).toBe("estimated_difference");
  expect(sortIn(sort, columnsOf("D", null, false))).toBe(sort);
});

test("what was measured is put beside its estimate, and added when it is not listed", () => {
  const listed = [node("a", 1, { estimated_effect: 2 }), node("b", 1)];
  const measured = new Map([
    ["a", node("a", 1, { estimated_effect: 2, verified_effect: 0.5 })],
    ["c", node("c", 1, { estimated_effect: 1, verified_effect: 1.05, layer: 7 })],
  ]);
  const rows = rowsOf(listed, measured, NO_FILTERS);
  expect(rows.map(({ id, verified_effect, disagreement }) => [id, verified_effect, disagreement])).toEqual([
    ["a", 0.5, 1.5],
    ["b", null, null],
    ["c", 1.05, 1 - 1.05],
  ]);
  expect(rowsOf(listed, measured, { ...NO_FILTERS, layers: [1] }).map(({ id }) => id)).toEqual(["a", "b"]);
});

test.each([
  [1, null, false],
  [1, 1.4, false],
  [0.05, -0.04, false],
  [0.05, -0.06, true],
  [1, 2.1, true],
  [-1, -0.4, true],
])("an estimate of %d and a measurement of %s disagree: %s", (estimated, verified, expected) => {
  expect(disagrees(estimated, verified)).toBe(expected);
});

test("a row of a comparison has both sides, and acts on the question's own node", () => {
  const left = node("attn.1.0@2", 1);
  const right = node("attn.1.0@3", 3);
  const change = { id: left.id, left, right, direct_difference: 2, estimated_difference: 0 };
  const alone = { id: right.id, left: null, right, direct_difference: null, estimated_difference: null };
  const [both, second] = comparedRows([change, alone], "second", new Map(), NO_FILTERS);
  expect([both?.id, both?.position, second?.change?.left]).toEqual(["attn.1.0@2", 2, null]);
  const values = (["direct_left", "direct_difference", "direct_right"] as const).map((column) =>
    valueIn(both as Row, column),
  );
  expect(values).toEqual([1, 2, 3]);
  expect(valueIn(second as Row, "direct_left")).toBeNull();

  const measured = new Map([["c", node("c", 5, { verified_effect: 4 })]]);
  const [, added] = comparedRows([change], "edited", measured, NO_FILTERS);
  expect(added).toMatchObject({ id: "c", verified_effect: 4, disagreement: -4 });
  expect(valueIn(added as Row, "direct_right")).toBe(5);
  expect(comparedRows([change], "edited", measured, { ...NO_FILTERS, layers: [9] })).toHaveLength(1);
});

test("an edit is read, written, moved and switched", () => {
  for (const text of ["zero:attn.23.3@13<-9", "!scale:neuron.5.200@3,5=-2.5", "patch:resid.4"])
    expect(writeEdit(readEdit(text))).toBe(text);
  expect(readEdit("!scale:neuron.5.*=2")).toEqual({
    op: "scale",
    place: "neuron.5.*",
    value: "2",
    off: true,
  });
  expect(moved(["a", "b", "c"], 0, 2)).toEqual(["b", "c", "a"]);
  expect(moved(["a", "b", "c"], 2, 0)).toEqual(["c", "a", "b"]);
  expect(moved(["a", "b"], 0, -1)).toEqual(["a", "b"]);
  expect(everywhere(["zero:attn.1.2", "zero:attn.1.2@3", "cut:attn.1.2<-3", "scale:neuron.1.*=2"])).toEqual([
    "zero:attn.1.2",
    "scale:neuron.1.*=2",
  ]);
});

test("ablating twice is no ablation, and one that is switched off is switched on", () => {
  const once = toggledAblations(["scale:attn.1.1=2"], ["attn.1.2@3", "embed@0"]);
  expect(once).toEqual(["scale:attn.1.1=2", "zero:attn.1.2@3", "zero:embed@0"]);
  expect(toggledAblations(once, ["attn.1.2@3", "embed@0"])).toEqual(["scale:attn.1.1=2"]);
  expect(toggledAblations(["!zero:embed@0", "zero:attn.1.2"], ["embed@0"])).toEqual([
    "zero:embed@0",
    "zero:attn.1.2",
  ]);
});

test("the first active edit turns the comparison on, and the last one turns it off", () => {
  expect(withEdits({ edits: [], compare: null }, ["zero:embed@0"])).toEqual({
    edits: ["zero:embed@0"],
    compare: "edited",
  });
  expect(withEdits({ edits: ["zero:embed@0"], compare: "edited" }, ["!zero:embed@0"]).compare).toBeNull();
  expect(withEdits({ edits: ["a:b"], compare: null }, ["a:b", "c:d"])).toEqual({ edits: ["a:b", "c:d"] });
  expect(withEdits({ edits: ["a:b"], compare: "second" }, [])).toEqual({ edits: [] });
});

test("a step of a trace is said in words, and knows which streams it reads", () => {
  const pair = readStep("attn.23.3@2<-1:q");
  expect(explained(pair, TOKENS, undefined)).toBe(
    "attention score of head 23.3, ␣sat reading ␣cat, through its query",
  );
  const value = readStep("attn.20.1@1<-0:v");
  expect(explained(value, TOKENS, pair)).toContain("as it moves the step before (attn.23.3@2←1)");
  expect(explained(value, TOKENS, undefined)).toContain("as it moves D");
  expect(explained(readStep("neuron.5.9@1:gate"), TOKENS, undefined)).toBe("gate of neuron 5.9 at ␣cat");
  expect(readingAt(pair)).toEqual([2]);
  expect(readingAt(readStep("attn.23.3@2<-1:k"))).toEqual([1]);
  expect(readingAt(readStep("attn.23.3@2<-1:both"))).toEqual([2, 1]);
  expect(readingAt(readStep("attn.23.3@2:v"))).toEqual([0, 1, 2]);
  expect(readingAt(readStep("neuron.5.9@1:both"))).toEqual([1]);
});

test("an axis has round numbers within its ends", () => {
  expect(ticks(-1, 4).map((tick) => Number(tick.toFixed(9)))).toEqual([-1, 0, 1, 2, 3, 4]);
  expect(ticks(-0.021, 0.073).map((tick) => Number(tick.toFixed(9)))).toEqual([-0.02, 0, 0.02, 0.04, 0.06]);
});

test("a cell of a map stands for the nodes that it adds together", () => {
  expect(cellFilters("direct", 24, 1, [13])).toEqual({
    kinds: [],
    layers: [23],
    positions: [13],
    sources: [1],
  });
  expect(cellFilters("direct", 24, 13, [13])).toEqual({
    kinds: [],
    layers: [23],
    positions: [13],
    sources: [],
  });
  expect(cellFilters("estimated", 24, 1, [13])).toEqual({
    kinds: [],
    layers: [23],
    positions: [1],
    sources: [],
  });
  expect(cellFilters("estimated", 0, 1, [13])).toMatchObject({ kinds: ["embed"], positions: [1] });
});

test("CSV quotes what must be and leaves out what is not there", () => {
  const [header, row, end] = toCsv([node('a,"b', 0.5)]).split("\r\n");
  expect(header).toMatch(/^id,kind,layer,index,position,source,activation/);
  expect(row).toBe('"a,""b",attn,1,0,2,,1,1,0.5,0,');
  expect(end).toBe("");
  const change = {
    id: "a",
    left: null,
    right: node("a", 3),
    direct_difference: null,
    estimated_difference: null,
  };
  const [sides, values] = toCsv([node("a", 3, { change })]).split("\r\n");
  expect(
    sides?.endsWith(
      "direct_left,direct_difference,direct_right,estimated_left,estimated_difference,estimated_right",
    ),
  ).toBe(true);
  expect(values?.endsWith(",,,3,,,0")).toBe(true);
});

test("a failure stands where its cause is, and nowhere else if that place is not there", () => {
  const failure = (code: string) => new Failure(code, "No.", "");
  expect(placeOf(failure("bad_edit"), { ...PLAIN, edits: ["zero:attn.99.1"] })).toBe("edits");
  expect(placeOf(failure("bad_edit"), PLAIN)).toBe("prompt");
  expect(placeOf(failure("bad_node"), { ...PLAIN, trace: ["embed@1:v"] })).toBe("trace");
  expect(placeOf(failure("bad_node"), PLAIN)).toBe("prompt");
  expect(placeOf(failure("not_one_token"), PLAIN)).toBe("direction");
  expect(placeOf(null, PLAIN)).toBeNull();
});

test("what cannot be edited, traced or measured says why", () => {
  const bias = node("bias.attn.1", 1, { kind: "bias", position: null });
  const embedding = node("embed@1", 1, { kind: "embed", position: 1 });
  expect(noEdit(bias)).toContain("constant");
  expect(noEdit(embedding)).toBeNull();
  expect(noTrace(embedding)).toContain("reads nothing");
  expect(noVerify("attn.1.2@3<-1", "mean")).toContain("one attention weight");
  expect(noVerify("attn.1.2@3<-1", "zero")).toBeNull();
  expect(waysOf(node("attn.1.2@3", 1), undefined).map(({ through }) => through)).toEqual(["v"]);
});

const SIDES = {
  targets: [{ id: 1, text: " x" }],
  distractors: [{ id: 2, text: " y" }],
};

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
    SIDES,
  );
  expect(program).toContain('    "a \\"b\\"\\n\\\\",');
  expect(program).toContain('    target=" x",');
  expect(program).toContain('    distractor=[" y", "\\u007f"],');
  expect(program).toContain("position=2");
  expect(program).toContain("bos=True");
  expect(program).toContain('run.nodes(top=30, kinds=["attn"], layers=[3])');
  expect(program).not.toMatch(/second|edit|trace|verify|compare|generate/);
});

test("the Python program makes the whole investigation", () => {
  const question: Question = {
    ...PLAIN,
    prompt: "a b c",
    edits: ["zero:attn.23.3@2", "patch:resid.4@1"],
    second: { prompt: "d e", position: 1 },
    alignment: [0, null, 1],
    trace: ["attn.20.1@2<-1:q", "neuron.5.9@1:both"],
  };
  const view: View = {
    ...DEFAULT_VIEW,
    compare: "edited",
    verify: 100,
    measured: ["attn.1.5@1", "attn.1.5@2<-0"],
    sweep: true,
    generate: true,
  };
  const lines = toPython("smollm2", question, view, SIDES).split("\n");
  expect(lines.slice(2)).toEqual([
    'model = clew.load("smollm2")',
    "run = model.debug(",
    '    "a b c",',
    ")",
    "second = model.debug(",
    '    "d e",',
    '    target=" x",',
    '    distractor=" y",',
    "    position=1,",
    ")",
    'run = run.edit("zero:attn.23.3@2", "patch:resid.4@1", second=second, alignment=[0, None, 1])',
    "print(run.direction)",
    "print(run.candidates(10))",
    'run = run.trace("attn.20.1@2<-1", through="q")',
    'run = run.trace("neuron.5.9@1", through="both")',
    "print(run.accounting())",
    "print(run.compare())",
    "print(run.verify(top=100))",
    'print(run.verify(nodes=["attn.1.5@1", "attn.1.5@2<-0"]))',
    "print(run.nodes(top=30))",
    "print(run.sweep(second, alignment=[0, None, 1]))",
    "print(run.generate(24, temperature=0.0, seed=0))",
    "",
  ]);
  const compared = toPython("smollm2", { ...question, edits: [] }, { ...view, compare: "second" }, SIDES);
  expect(compared).toContain("print(run.compare(second, alignment=[0, None, 1]))");
  expect(compared).not.toContain("run.edit");
  const resampled = toPython(
    "smollm2",
    { ...question, edits: [], alignment: null },
    { ...view, sweep: false, ablation: "resample", renormalise: true },
    SIDES,
  );
  expect(resampled).toContain('run.verify(nodes=["attn.1.5@1"], ablation="resample"');
  expect(resampled).toContain('run.verify(top=100, ablation="resample", renormalise=True, other=second)');
  const part = { targets: [{ id: 7365, text: "\ufffd" }], distractors: [] };
  expect(toPython("smollm2", question, view, part)).toContain("    target=7365,");
});

const latent = (id: string, more: Partial<Row> = {}) =>
  node(id, 1, { kind: id.startsWith("error") ? "error" : "latent", layer: 3, ...more });

test("latents and errors can be edited, and latents traced through their encoder", () => {
  const one = latent("latent.mlp_out.3.117@2");
  const error = latent("error.mlp_out.3@2", { index: null });
  expect(opsAt(one)).toContain("set");
  expect(opsAt(error)).not.toContain("set");
  expect(noTrace(one)).toBeNull();
  expect(noTrace(error)).toContain("no latent explains");
  expect(waysOf(one, undefined)).toMatchObject([{ through: "in", label: "encoder" }]);
  expect(explained({ node: one.id, through: "in" }, TOKENS, undefined)).toBe(
    "pre-activation of latent 117 of mlp_out.3 at ␣sat",
  );
  expect(readingAt({ node: one.id, through: "in" })).toEqual([2]);
  expect(readingAt({ node: "latent.attn_out.3.1@2", through: "in" })).toEqual([0, 1, 2]);
});

test("edits of latents go with their autoencoder, whether they are on or off", () => {
  const edits = [
    "zero:latent.mlp_out.3.1@2",
    "!set:latent.resid.4.7=2",
    "zero:error.resid.4@1",
    "zero:attn.1.0",
  ];
  expect(editsWith(edits, ["resid.4"])).toEqual(edits.slice(1));
  expect(editsWith(edits, [])).toEqual(["zero:attn.1.0"]);
});

test("a latent stands where what it replaces stood, and errors behind it", () => {
  const ids = [
    "latent.resid.3.0@2",
    "error.mlp_out.3@2",
    "attn.3.0@2",
    "latent.mlp_out.3.9@2",
    "neuron.4.0@2",
    "latent.attn_out.3.5@2",
  ];
  const rows = ids.map((id) => {
    const kind = id.split(".")[0] as Row["kind"];
    return node(id, 1, {
      kind,
      layer: id.startsWith("neuron") ? 4 : 3,
      index: Number(/(\d+)@/.exec(id)?.[1]),
    });
  });
  expect(sorted(rows, { column: "id", order: "asc" }).map(({ id }) => id)).toEqual([
    "attn.3.0@2",
    "latent.attn_out.3.5@2",
    "latent.mlp_out.3.9@2",
    "error.mlp_out.3@2",
    "latent.resid.3.0@2",
    "neuron.4.0@2",
  ]);
});

test("activations of each autoencoder are compared among themselves", () => {
  const rows = [
    latent("latent.mlp_out.3.1@2", { activation: 2 }),
    latent("latent.mlp_out.3.2@2", { activation: 5 }),
    latent("latent.resid.9.2@2", { activation: 70 }),
  ];
  expect(maximaOf(rows).activation).toEqual({ "mlp_out.3": 5, "resid.9": 70 });
});

test("the Python program attaches the question's autoencoders", () => {
  const question = { ...PLAIN, autoencoders: ["t/mlp_out.3-topk", "./folder"] };
  expect(toPython("smollm2", question, DEFAULT_VIEW, SIDES)).toContain(
    'model = clew.load("smollm2").attach("t/mlp_out.3-topk", "./folder")\n',
  );
});
