import { describe, expect, test } from "vitest";
import { type ComponentView, readComponentView, writeComponentView } from "./componentView";
import { componentOf, readComponent, writtenBy } from "./ids";
import { autoencoderAddress, componentAddress, readAsked, readRoute, trainingAddress } from "./route";
import { readLayers, readSearchView, type SearchView, writeLayers, writeSearchView } from "./searchView";

const SHAPE = { n_layers: 30, n_heads: 9, n_neurons: 1536 };

test.each([
  ["/", { page: "debugger" }],
  ["/index.html", { page: "debugger" }],
  ["/search", { page: "search" }],
  ["/search/", { page: "search" }],
  ["/c/neuron.5.200", { page: "component", id: "neuron.5.200" }],
  ["/c/attn.23.3/", { page: "component", id: "attn.23.3" }],
  ["/c/%zz", { page: "component", id: "%zz" }],
  ["/c/a/b", { page: "debugger" }],
  ["/explanations", { page: "explanations" }],
  ["/explanations/", { page: "explanations" }],
  ["/cluster", { page: "cluster" }],
  ["/cluster/", { page: "cluster" }],
  ["/saes", { page: "autoencoders" }],
  ["/saes/", { page: "autoencoders" }],
  ["/saes/trainings", { page: "autoencoders" }],
  ["/saes/train", { page: "train" }],
  ["/saes/mlp_out.10-topk-4608-k32", { page: "autoencoder", name: "mlp_out.10-topk-4608-k32" }],
  ["/saes/trainings/one%20two", { page: "training", name: "one two" }],
  ["/saes/first/resid.0-topk", { page: "autoencoder", name: "first/resid.0-topk" }],
  ["/saes//", { page: "debugger" }],
])("%s opens its page", (path, route) => {
  expect(readRoute(path)).toEqual(route);
});

test("a name survives its address, whatever is in it", () => {
  for (const name of ["mlp_out.10", "a/b c", "100%", "ünï?#"]) {
    expect(readRoute(autoencoderAddress(name))).toEqual({ page: "autoencoder", name });
    if (!name.includes("/")) expect(readRoute(trainingAddress(name))).toEqual({ page: "training", name });
  }
});

test("a prompt goes along from page to page", () => {
  const asked = { prompt: "a & b\n+é", bos: true, autoencoders: ["t/one", "two, three"] };
  const address = componentAddress("attn.23.3", asked);
  expect(readRoute(address.split("?")[0] ?? "")).toEqual({ page: "component", id: "attn.23.3" });
  expect(readAsked(address.slice(address.indexOf("?")), "example")).toEqual(asked);
  expect(componentAddress("attn.23.3", null)).toBe("/c/attn.23.3");
  expect(readAsked("", "example")).toEqual({ prompt: "example", bos: false, autoencoders: null });
  expect(readAsked("", null)).toBeNull();
});

test.each([
  ["attn.23.3@13<-9", "attn.23.3"],
  ["neuron.5.200@3,5", "neuron.5.200"],
  ["neuron.5.200", "neuron.5.200"],
  ["latent.mlp_out.10.117@3", "latent.mlp_out.10.117"],
  ["latent.resid.4.*", null],
  ["error.mlp_out.10@3", null],
  ["attn.23.*@13", null],
  ["embed@3", null],
  ["bias.attn.3", null],
  ["resid.4@3", null],
])("%s is a run of %s", (node, component) => {
  expect(componentOf(node)).toBe(component);
});

describe("a component that is typed", () => {
  test.each([
    ["attn.23.3", "attn.23.3"],
    ["  NEURON 5 200 ", "neuron.5.200"],
    ["attn.23.3@13<-9", "attn.23.3"],
    ["latent mlp_out 10 117@4", "latent.mlp_out.10.117"],
  ])("%s goes to its page", (text, id) => {
    expect(readComponent(text, SHAPE)).toEqual({ id });
  });

  test.each([
    ["", "no component"],
    ["embed@3", "no component"],
    ["attn.30.0", "layers 0 to 29"],
    ["attn.3.9", "heads 0 to 8"],
    ["neuron.3.1536", "neurons 0 to 1535"],
    ["latent.mlp_out.30.1", "layers 0 to 29"],
    ["latent.mlp.3.1", "no site"],
  ])("%s has something wrong with it", (text, part) => {
    expect(readComponent(text, SHAPE)).toEqual({ problem: expect.stringContaining(part) });
  });
});

test("a component's view survives the address bar", () => {
  const full: ComponentView = {
    prompt: "a b\n&=",
    bos: true,
    autoencoders: ["t/one"],
    layout: "line",
    group: "bands",
    direction: "to",
    explanation: 12,
    texts: "near_miss",
  };
  expect(readComponentView(writeComponentView(full))).toEqual(full);
  expect(writeComponentView(readComponentView(""))).toBe("");
  expect(readComponentView("?layout=pie&group=best&hover=up")).toEqual(readComponentView(""));
});

test("a search survives the address bar", () => {
  const full: SearchView = {
    mode: "token",
    words: "months of the year",
    near: "embedder@http://localhost:8000/v1",
    by: "gpt@http://localhost:8000/v1",
    score: -0.2,
    prompt: "a b\n&=",
    bos: true,
    autoencoders: [],
    at: 3,
    token: " Mary",
    kinds: ["latent"],
    layers: [0, 23],
    density: 0.01,
    sort: "examples",
    ascending: true,
    page: 2,
  };
  expect(readSearchView(writeSearchView(full))).toEqual(full);
  expect(writeSearchView(readSearchView(""))).toBe("");
  // A sort of another mode, a share above one and a page before the first mean nothing.
  expect(readSearchView("?by=push&sort=examples&density=2&page=0")).toEqual({
    ...readSearchView(""),
    mode: "push",
  });
  expect(readSearchView("?sort=z.asc")).toMatchObject({ sort: "z", ascending: true });
});

test("layers are written as a person writes them", () => {
  expect(readLayers("20-22, 3; 5 5")).toEqual([3, 5, 20, 21, 22]);
  expect(readLayers("")).toEqual([]);
  expect(readLayers("5-3")).toBeNull();
  expect(readLayers("x")).toBeNull();
  expect(writeLayers([3, 5, 20, 21, 22])).toBe("3, 5, 20-22");
});

test("the site of a latent and of an error is the same, wherever they are", () => {
  expect(["latent.mlp_out.10.117@2", "error.mlp_out.10@13", "attn.3.0@1"].map(writtenBy)).toEqual([
    "mlp_out.10",
    "mlp_out.10",
    "",
  ]);
});
