import { describe, expect, test } from "vitest";
import openapi from "../../../../openapi.json";
import { readTrainForm, type TrainForm, writeTrainForm } from "../../url/trainForm";
import { costOf } from "./cost";
import { DEFAULTS, numberOf, planOf, recipeName } from "./plan";

const MODEL = { name: "smollm2", n_layers: 30, n_neurons: 1536, d_model: 576, gated: true, device: "cpu" };
const form = (part: Partial<TrainForm> = {}): TrainForm => ({ ...readTrainForm(""), ...part });
const plan = (part: Partial<TrainForm> = {}, taken: string[] = []) => planOf(form(part), MODEL, taken);

test("an untouched form is a training that can start", () => {
  const { request, problems, recipes } = plan();
  expect(problems).toEqual({});
  expect(recipes.map(recipeName)).toEqual(["mlp_out.10-topk-4608-k32"]);
  expect(request).toMatchObject({
    name: "smollm2-mlp_out.10-topk-4608-k32",
    tokens: 1_000_000,
    corpus: null,
  });
});

test("sites, sizes, architectures and sparsities multiply", () => {
  const { recipes } = plan({
    sites: ["mlp_out.3", "resid.5"],
    latents: "1k, 2048",
    architectures: ["topk", "relu"],
    k: "16 32",
    sparsity: "0.001",
  });
  expect(recipes).toHaveLength(2 * 2 * (2 + 1));
  expect(recipes.slice(0, 3).map(recipeName)).toEqual([
    "mlp_out.3-topk-1000-k16",
    "mlp_out.3-topk-1000-k32",
    "mlp_out.3-relu-1000-l0.001",
  ]);
});

test("a name that is taken gets a number, and one that was typed is refused", () => {
  const taken = ["smollm2-mlp_out.10-topk-4608-k32", "smollm2-mlp_out.10-topk-4608-k32-2"];
  expect(plan({}, taken).name).toBe("smollm2-mlp_out.10-topk-4608-k32-3");
  expect(plan({ name: taken[0] }, taken).problems.name).toContain("take another");
  expect(plan({ name: taken[0], replace: true }, taken).problems).toEqual({});
});

describe("what cannot be trained is refused in a sentence", () => {
  test.each<[keyof ReturnType<typeof planOf>["problems"], Partial<TrainForm>, string]>([
    ["sites", { sites: [] }, "at least one"],
    ["sites", { sites: ["mlp_out.30"] }, "layers 0 to 29"],
    ["sites", { sites: ["mlp.3"] }, "no site"],
    ["sites", { sites: ["mlp_in.3"] }, "transcoders only"],
    ["writes", { sites: ["mlp_in.3"], writes: "mlp_out.2" }, "computed before"],
    ["latents", { latents: "many" }, "whole numbers"],
    ["k", { k: "5000" }, "cannot fire"],
    ["sparsity", { sparsity: "-1" }, "numbers from"],
    ["tokens", { tokens: "100" }, "one step"],
    ["buffer", { buffer: "100" }, "hold a step"],
    ["decay", { warmup: "0.6", decay: "0.6" }, "together at most 1"],
    ["rate", { rate: "fast" }, "a number"],
    ["architectures", { latents: "100,200,300,400,500,600", k: "1,2,3" }, "18 autoencoders"],
    ["name", { name: "../x" }, "letters, digits"],
  ])("%s: %j", (field, part, words) => {
    const { problems, request } = plan(part);
    expect(problems[field]).toContain(words);
    expect(request).toBeNull();
  });
});

test("a transcoder reads one site and writes another", () => {
  const { request } = plan({ sites: ["mlp_in.3"], writes: "mlp_out.3", skip: true });
  expect(request?.recipes[0]).toMatchObject({ site: "mlp_in.3", writes: "mlp_out.3", skip: true });
  expect(request?.name).toBe("smollm2-mlp_in.3-to-mlp_out.3-topk-4608-k32-skip");
});

test("numbers are read as a person writes them", () => {
  expect(["300k", "1.5M", "4 608", "4_608", "1e-3", ".5"].map(numberOf)).toEqual([
    300_000, 1_500_000, 4608, 4608, 0.001, 0.5,
  ]);
  expect(["", "-1", "1,5", "k", "1 2 x"].map(numberOf)).toEqual([null, null, null, null, null]);
});

test("the cost counts what is learned and how far the model runs", () => {
  const { recipes } = plan({ sites: ["mlp_out.10"], latents: "4608" });
  const one = costOf(recipes, { tokens: 300_000, batch: 2048 }, MODEL);
  expect(one.steps).toBe(146);
  expect(one.parameters).toBe(4608 * (576 + 576 + 1) + 576);
  expect(one.bytes).toBe(16 * one.parameters);
  // Several in one pass cost the model's own run once.
  const both = costOf([...recipes, ...recipes], { tokens: 300_000, batch: 2048 }, MODEL);
  expect(both.operations).toBeLessThan(2 * one.operations);
  const deep = costOf(
    plan({ sites: ["mlp_out.29"], latents: "4608" }).recipes,
    { tokens: 1, batch: 1 },
    MODEL,
  );
  expect(deep.operations - one.operations).toBe(19 * 2 * (4 * 576 * 576 + 3 * 576 * 1536));
});

test("a form survives the address bar", () => {
  const full = form({
    sites: ["mlp_out.3", "resid.5"],
    architectures: ["relu", "jumprelu"],
    latents: "1k, 2k",
    sparsity: "0.1",
    loss: "2024",
    resample: false,
    bos: true,
    corpus: "./my texts & more",
  });
  expect(readTrainForm(writeTrainForm(full))).toEqual(full);
  expect(writeTrainForm(readTrainForm(""))).toBe("");
  expect(readTrainForm(writeTrainForm(form({ sites: [] }))).sites).toEqual([]);
});

test("the form starts from the numbers that the server does", () => {
  const { TrainRequest, RecipeRequest } = openapi.components.schemas;
  const of = (properties: object, name: string) =>
    (properties as Record<string, { default?: unknown }>)[name]?.default;
  const { k, save, ...others } = DEFAULTS;
  for (const [name, value] of Object.entries(others)) expect(of(TrainRequest.properties, name)).toBe(value);
  expect(of(TrainRequest.properties, "save_every")).toBe(save);
  expect(of(RecipeRequest.properties, "k")).toBe(k);
});
