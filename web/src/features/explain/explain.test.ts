import { describe, expect, test } from "vitest";
import type { Overview, ScoredText, Source } from "../../api/types";
import { type OverviewView, readOverviewView, writeOverviewView } from "../../url/overviewView";
import { byDensity, byLayer, firstSource, kindsOf, overviewCsv, sourceText, trimmed } from "./overview";
import {
  asksNothing,
  costText,
  FIRST_RECIPE,
  namesOf,
  requestOf,
  toCommand,
  toPython,
  warning,
} from "./request";
import { correlation, textsShown } from "./texts";

const NAMED = ["neuron.5.200"];

describe("what is asked for", () => {
  test("a lookup has one way to find words, whatever was chosen for a language model", () => {
    const recipe = { ...FIRST_RECIPE, variants: ["contrast" as const], candidates: "5", revisions: "2" };
    const found = requestOf(recipe, NAMED, null);
    expect(found).toMatchObject({
      request: {
        llm: "lookup",
        simulator: null,
        method: null,
        variants: ["examples"],
        candidates: 1,
        revisions: 0,
      },
    });
    expect(asksNothing(recipe)).toBe(true);
    expect(asksNothing({ llm: "lookup", simulator: "m" })).toBe(false);
  });

  test("who explains judges as well, unless another is named", () => {
    const llm = "m@http://localhost:8000/v1";
    const recipe = { ...FIRST_RECIPE, llm, method: "json" as const, budget: "200k" };
    expect(requestOf(recipe, NAMED, ["a"])).toMatchObject({
      request: { llm, simulator: null, method: "json", budget: 200_000, autoencoders: ["a"] },
    });
    expect(requestOf({ ...recipe, simulator: llm }, NAMED, null)).toMatchObject({
      request: { simulator: null },
    });
    // A lookup has its own way to simulate.
    expect(requestOf({ ...recipe, simulator: "lookup" }, NAMED, null)).toMatchObject({
      request: { simulator: "lookup", method: null },
    });
  });

  test.each([
    [{ llm: " " }, NAMED, "language model"],
    [{}, [" "], "components"],
    [{ scorers: [] }, NAMED, "scorer"],
    [{ llm: "m", variants: [] }, NAMED, "shown"],
    [{ llm: "m", candidates: "0" }, NAMED, "candidates"],
    [{ llm: "m", revisions: "x" }, NAMED, "revisions"],
    [{ budget: "much" }, NAMED, "budget"],
  ])("%j of %j is refused with a sentence", (part, names, word) => {
    const found = requestOf({ ...FIRST_RECIPE, ...part }, names, null);
    expect("problem" in found && found.problem).toContain(word);
  });

  test("the command and the program do the same", () => {
    const recipe = {
      ...FIRST_RECIPE,
      llm: "m@http://x/v1",
      scorers: ["detection" as const, "simulation" as const],
      candidates: "3",
    };
    const found = requestOf(recipe, ["neuron.5.*", "attn.1.2"], ["t/one"]);
    expect("request" in found && toCommand("smollm2", found.request)).toBe(
      "clew explain smollm2 --components 'neuron.5.*' --components attn.1.2 --llm m@http://x/v1 --candidates 3" +
        " --scorer simulation --scorer detection --sae t/one",
    );
    const plain = requestOf(FIRST_RECIPE, NAMED, null);
    expect("request" in plain && toCommand("smollm2", plain.request)).toBe(
      "clew explain smollm2 --components neuron.5.200 --llm lookup",
    );
    expect(toPython("smollm2", "neuron.5.200", [])).toContain('node = components.named("neuron.5.200")');
  });

  test("names of components are taken with commas, spaces or lines between", () => {
    expect(namesOf(" neuron.5.0-199, attn.*.*\nlatent.mlp_out.10.* ")).toEqual([
      "neuron.5.0-199",
      "attn.*.*",
      "latent.mlp_out.10.*",
    ]);
  });

  test("a cost is told before it is spent", () => {
    expect(costText({ requests: 1, prompt_tokens: 1500, completion_tokens: 60, money: null })).toBe(
      "at most 1 request, 1.5k tokens sent and 60 received",
    );
    expect(
      costText({ requests: 12, prompt_tokens: 12_345, completion_tokens: 600, money: 0.01234 }),
    ).toContain("0.0123 in money");
    expect(costText({ requests: 0, prompt_tokens: 0, completion_tokens: 0, money: null })).toContain(
      "nothing",
    );
  });

  test("a language model without a key, or that may not be named, is refused", () => {
    const rows = [{ reference: "gpt", kind: "endpoint" as const, key: false, methods: null }];
    expect(warning("gpt", { rows, others: true })).toContain("key");
    expect(warning("other", { rows, others: true })).toBeNull();
    expect(warning("other", { rows, others: false })).toContain("only what it was given");
    expect(warning("other", undefined)).toBeNull();
  });
});

describe("real against simulated", () => {
  test("the correlation is Pearson’s, and none where nothing varies", () => {
    expect(correlation([1, 2, 3], [2, 4, 6])).toBeCloseTo(1, 12);
    expect(correlation([1, 2, 3], [3, 2, 1])).toBeCloseTo(-1, 12);
    // By hand: means 2 and 2, Σxy = 1, Σx² = 2, Σy² = 2.
    expect(correlation([1, 2, 3], [1, 3, 2])).toBeCloseTo(0.5, 12);
    expect(correlation([1, 1, 1], [1, 2, 3])).toBeNull();
    expect(correlation([1], [1])).toBeNull();
  });

  test("texts are told by their kind", () => {
    const text = (kind: ScoredText["kind"]): ScoredText => ({
      kind,
      context: 0,
      start: 0,
      tokens: [],
      real: [],
      simulated: null,
      failure: null,
    });
    const texts = [text("top"), text("near_miss"), text("random")];
    expect(textsShown(texts, "all")).toBe(texts);
    expect(textsShown(texts, "near_miss")).toEqual([texts[1]]);
    expect(textsShown(texts, "none")).toEqual([]);
  });
});

const SOURCE: Source = {
  model: "smollm2",
  llm: "lookup",
  variant: "tokens",
  scorer: "simulation",
  simulator: "lookup",
  components: 200,
};

const OVERVIEW: Overview = {
  source: SOURCE,
  explained: 200,
  scored: 190,
  failed: 10,
  mean: 0.4,
  table: 0.3,
  kinds: [
    { kind: "attn", layer: null, n: 9, mean: 0.2, deviation: 0.1, table: null },
    { kind: "neuron", layer: null, n: 181, mean: 0.4, deviation: 0.2, table: 0.3 },
  ],
  layers: [
    { kind: "neuron", layer: 7, n: 80, mean: 0.3, deviation: 0.2, table: 0.2 },
    { kind: "neuron", layer: 5, n: 101, mean: 0.5, deviation: 0.2, table: null },
    { kind: "attn", layer: 5, n: 9, mean: 0.2, deviation: 0.1, table: null },
  ],
  distribution: [{ low: -1, high: -0.9, n: 0, mean: null }],
  density: [
    { low: -4, high: -3, n: 0, mean: null },
    { low: -3, high: -2, n: 190, mean: 0.4 },
  ],
  best: [],
  worst: [],
};

describe("an overview", () => {
  test("opens with what has most components of the loaded model", () => {
    const other = { ...SOURCE, model: "gpt2", components: 9000 };
    const fewer = { ...SOURCE, llm: "gpt", components: 3 };
    expect(firstSource([fewer, other, SOURCE], "smollm2")).toBe(SOURCE);
    expect(firstSource([fewer, other], "pythia")).toBe(other);
    expect(firstSource([], "smollm2")).toBeNull();
  });

  test("names the model only where it is another", () => {
    expect(sourceText(SOURCE, "smollm2")).toBe("lookup · simulation");
    expect(sourceText({ ...SOURCE, llm: "gpt", variant: "examples" }, "gpt2")).toBe(
      "smollm2: gpt, from examples · simulation by lookup",
    );
  });

  test("draws what was measured, in order, and nothing where nothing was", () => {
    expect(kindsOf([OVERVIEW])).toEqual(["neuron", "attn"]);
    expect(byLayer(OVERVIEW, "neuron").map(({ x, y }) => [x, y])).toEqual([
      [5, 0.5],
      [7, 0.3],
    ]);
    expect(byDensity(OVERVIEW)).toEqual([{ x: -2.5, y: 0.4, n: 190, deviation: null, table: null }]);
  });

  test("shows the bins that any of its sources fills, and all between", () => {
    const bins = (...counts: number[]) => counts.map((n, i) => ({ low: i, high: i + 1, n, mean: null }));
    expect(
      trimmed([bins(0, 0, 1, 0, 0), bins(0, 0, 0, 0, 2)]).map((some) => some.map(({ low }) => low)),
    ).toEqual([
      [2, 3, 4],
      [2, 3, 4],
    ]);
    expect(trimmed([bins(0, 0)])[0]).toHaveLength(2);
  });

  test("is a table of all its numbers", () => {
    const lines = overviewCsv([OVERVIEW]).trim().split("\r\n");
    expect(lines).toHaveLength(1 + 2 + 3 + 1 + 2);
    expect(lines[1]).toBe("smollm2,lookup,tokens,simulation,lookup,kind,attn,,,9,0.2,0.1,");
    expect(lines[3]).toBe("smollm2,lookup,tokens,simulation,lookup,layer,neuron,7,7,80,0.3,0.2,0.2");
  });

  test("survives the address bar", () => {
    const { components: _, ...source } = SOURCE;
    const full: OverviewView = {
      source,
      beside: { ...source, llm: "m@http://x/v1?a=b&c" },
      kind: "attn",
      end: "worst",
      listed: "second",
      explain: "neuron.5.*",
    };
    expect(readOverviewView(writeOverviewView(full))).toEqual(full);
    expect(writeOverviewView(readOverviewView(""))).toBe("");
    // Half a source is none.
    expect(readOverviewView("?llm=lookup&variant=tokens&kind=pie")).toEqual(readOverviewView(""));
  });
});
