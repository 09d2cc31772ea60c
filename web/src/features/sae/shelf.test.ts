import { expect, test } from "vitest";
import type { Autoencoder } from "../../api/types";
import { architectureOf, arranged, blockOf, siteOf, toCsv } from "./shelf";

const row = (name: string, part: Partial<Autoencoder> = {}): Autoencoder => ({
  name,
  reference: name,
  model: "smollm2",
  reads: "mlp_out.10",
  writes: "mlp_out.10",
  architecture: "topk",
  activation: "topk",
  latents: 4608,
  k: 32,
  format: "clew",
  tokens: null,
  dtype: "float32",
  judged: false,
  attached: false,
  fits: true,
  problem: null,
  l0: null,
  fvu: null,
  ce_recovered: null,
  ...part,
});
const ROWS = [
  row("b", { fvu: 0.3 }),
  row("a", { reads: "mlp_in.3", writes: "mlp_out.3", k: null, architecture: "relu" }),
  row("c", { fvu: 0.1, latents: 256 }),
];
const names = (view: Parameters<typeof arranged>[1]) => arranged(ROWS, view).map(({ name }) => name);

test("the list is as the server has it until it is sorted, and what is not known comes last", () => {
  expect(names({ find: "", sort: null, ascending: false })).toEqual(["b", "a", "c"]);
  expect(names({ find: "", sort: "fvu", ascending: true })).toEqual(["c", "b", "a"]);
  expect(names({ find: "", sort: "fvu", ascending: false })).toEqual(["b", "c", "a"]);
  expect(names({ find: "", sort: "name", ascending: true })).toEqual(["a", "b", "c"]);
  expect(names({ find: "relu mlp_in", sort: null, ascending: false })).toEqual(["a"]);
});

test("a transcoder names both its sites", () => {
  expect(ROWS.map(siteOf)).toEqual(["mlp_out.10", "mlp_in.3 → mlp_out.3", "mlp_out.10"]);
  expect(ROWS.map(architectureOf)).toEqual(["topk, k = 32", "relu", "topk, k = 32"]);
});

test("what stands in place of the same is known by its block", () => {
  expect(["mlp_act.3", "mlp_out.3", "attn_act.3", "attn_out.3", "resid.3"].map(blockOf)).toEqual([
    "mlp.3",
    "mlp.3",
    "attn.3",
    "attn.3",
    "resid.3",
  ]);
});

test("the list as CSV has a row for each", () => {
  const lines = toCsv(ROWS).trim().split("\r\n");
  expect(lines).toHaveLength(4);
  expect(lines[3]).toBe("c,c,smollm2,mlp_out.10,mlp_out.10,topk,topk,256,32,clew,float32,,,0.1,,true");
});
