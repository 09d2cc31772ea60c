import type { Architecture, Model, RecipeRequest, TrainRequest } from "../../api/types";
import { count } from "../../format/number";
import type { WRITTEN } from "../../url/ids";
import type { TextField, TrainForm } from "../../url/trainForm";

/** What a training starts from; the server's own, which tests hold it to. */
export const DEFAULTS = {
  k: 32,
  tokens: 1_000_000,
  batch: 2048,
  context: 128,
  buffer: 131_072,
  warmup: 0.05,
  decay: 0.2,
  clip: 1,
  save: 200_000,
  seed: 0,
} as const;
/** Latents for each number of the site, unless told otherwise. */
const EXPANSION = 8;
/** What the server takes at most. */
const MOST_RECIPES = 16;
const MOST_LATENTS = 262_144;
const MOST_TOKENS = 1_000_000_000;

export const SITES = [
  ["mlp_out", "MLP output", "what the MLP adds to the residual stream"],
  ["mlp_act", "MLP neurons", "what the MLP’s output projection is given: its neurons"],
  ["attn_out", "attention output", "what attention adds to the residual stream"],
  ["attn_act", "attention heads", "what attention’s output projection is given: its heads"],
  ["resid", "residual stream", "the stream after the layer"],
] as const satisfies readonly (readonly [(typeof WRITTEN)[number], string, string])[];
const READ_ONLY = "mlp_in";

type Shape = Pick<Model, "n_layers" | "n_neurons" | "d_model">;
export type Problems = Partial<Record<TextField | "sites" | "architectures", string>>;

export interface Plan {
  recipes: readonly RecipeRequest[];
  problems: Problems;
  /** null while something is wrong. */
  request: TrainRequest | null;
  /** What its folder is called. */
  name: string;
}

/** The site that is offered: in the first half of the model, where features are neither of tokens nor of the answer. */
export function firstSite({ n_layers }: Shape): string {
  return `mlp_out.${Math.floor(n_layers / 3)}`;
}

/** How many numbers a token has at a site. */
export function widthOf(site: string, { n_neurons, d_model }: Shape): number {
  return site.startsWith("mlp_act") ? n_neurons : d_model;
}

/** Whether an architecture is told how many latents fire, rather than a penalty. */
export function hasK(architecture: Architecture): boolean {
  return architecture !== "relu" && architecture !== "jumprelu";
}

/** What the form asks for, and what is wrong with it, in a sentence each. `taken` are the names of other trainings. */
export function planOf(form: TrainForm, model: Shape & { name: string }, taken: readonly string[]): Plan {
  const problems: Problems = {};
  const fail = (field: keyof Problems, sentence: string) => {
    problems[field] ??= sentence;
  };
  const one = (
    field: keyof typeof DEFAULTS & TextField,
    whole: boolean,
    low: number,
    high: number,
  ): number => {
    if (form[field].trim() === "") return DEFAULTS[field];
    const value = numberOf(form[field]);
    if (value === null || (whole && !Number.isInteger(value)) || value < low || value > high) {
      fail(field, `Give a ${whole ? "whole " : ""}number from ${low} to ${count(high)}.`);
      return DEFAULTS[field];
    }
    return value;
  };
  const many = (field: "latents" | "k" | "sparsity", whole: boolean, low: number, high: number): number[] => {
    const words = form[field].split(/[,;\s]+/).filter(Boolean);
    const values = words.map(numberOf);
    const right = values.every(
      (value) => value !== null && value >= low && value <= high && (!whole || Number.isInteger(value)),
    );
    if (right) return [...new Set(values as number[])];
    fail(field, `Give ${whole ? "whole " : ""}numbers from ${low} to ${count(high)}, with commas between.`);
    return [];
  };

  const sites = form.sites ?? [firstSite(model)];
  if (sites.length === 0) fail("sites", "Name at least one site.");
  const writes = form.writes.trim() || null;
  for (const site of sites) {
    const wrong = siteProblem(site, model, writes !== null);
    if (wrong) fail("sites", wrong);
  }
  if (writes !== null) {
    const wrong = siteProblem(writes, model, false);
    if (wrong) fail("writes", wrong);
    else {
      const late = sites.find((site) => layerOf(site) > layerOf(writes));
      if (late) fail("writes", `${writes} is computed before ${late}: a transcoder writes what comes later.`);
    }
  }
  if (form.architectures.length === 0) fail("architectures", "Choose at least one architecture.");
  const sizes = many("latents", true, 1, MOST_LATENTS);
  const given = many("k", true, 1, MOST_LATENTS);
  const ks = given.length ? given : [DEFAULTS.k];
  const sparsities = many("sparsity", false, 0, 1e6);
  const tokens = one("tokens", true, 1, MOST_TOKENS);
  const batch = one("batch", true, 1, 65_536);
  const context = one("context", true, 2, 32_767);
  const buffer = one("buffer", true, 1, 4_194_304);
  const warmup = one("warmup", false, 0, 1);
  const decay = one("decay", false, 0, 1);
  const clip = one("clip", false, 1e-6, 1e6);
  const save = one("save", true, 1, MOST_TOKENS);
  const seed = one("seed", true, 0, 2 ** 31 - 1);
  const rate = form.rate.trim() === "" ? null : numberOf(form.rate);
  if (form.rate.trim() !== "" && !(rate !== null && rate >= 0)) fail("rate", "Give a number such as 0.0003.");
  if (!problems.tokens && tokens < batch) fail("tokens", `Fewer than one step of ${batch} tokens.`);
  if (!problems.buffer && buffer < batch) fail("buffer", `It must hold a step of ${batch} tokens.`);
  if (warmup + decay > 1) fail("decay", "Warm-up and decay are shares of the run, together at most 1.");

  const recipes: RecipeRequest[] = [];
  for (const site of sites)
    for (const latents of sizes.length ? sizes : [EXPANSION * widthOf(site, model)])
      for (const architecture of form.architectures) {
        const own = {
          site,
          latents,
          architecture,
          k: DEFAULTS.k,
          sparsity: null,
          loss: form.loss,
          learning_rate: rate,
          writes,
          skip: form.skip && writes !== null,
          resample: form.resample,
          seed: 0,
        };
        if (hasK(architecture)) for (const k of ks) recipes.push({ ...own, k });
        else if (sparsities.length === 0) recipes.push(own);
        else for (const sparsity of sparsities) recipes.push({ ...own, sparsity });
      }
  const large = recipes.find(({ architecture, k, latents }) => hasK(architecture) && k > latents);
  if (large) fail("k", `k = ${large.k} of ${large.latents} latents cannot fire.`);
  if (recipes.length > MOST_RECIPES)
    fail(
      "architectures",
      `These are ${recipes.length} autoencoders; ${MOST_RECIPES} can be trained at once.`,
    );

  const typed = form.name.trim();
  if (typed && !/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(typed))
    fail("name", "Use letters, digits and . _ - after a first letter or digit; at most 100.");
  if (typed && taken.includes(typed) && !form.replace)
    fail("name", "A training has this name: take another, or tick “replace”.");
  const name = typed || untaken(trainingName(model.name, recipes), taken);
  const request = {
    name,
    recipes,
    tokens,
    corpus: form.corpus.trim() || null,
    batch,
    context,
    bos: form.bos,
    buffer,
    warmup,
    decay,
    clip,
    save_every: save,
    seed,
    replace: form.replace,
  };
  return { recipes, problems, request: Object.keys(problems).length === 0 ? request : null, name };
}

/** A number as a person writes one: 300k, 1.5M, 4 608, 1e-3. null when it is none. */
export function numberOf(text: string): number | null {
  const found = /^(\d+(?:\.\d*)?|\.\d+)(e[+-]?\d{1,3})?\s*([kM]?)$/.exec(
    text.trim().replace(/(?<=\d)[\s_](?=\d)/g, ""),
  );
  if (!found) return null;
  const value =
    Number(`${found[1]}${found[2] ?? ""}`) * { "": 1, k: 1e3, M: 1e6 }[found[3] as "" | "k" | "M"];
  return Number(value.toPrecision(15));
}

function layerOf(site: string): number {
  return Number(site.slice(site.lastIndexOf(".") + 1));
}

/** What is wrong with a site; null when nothing is. */
export function siteProblem(site: string, { n_layers }: Shape, transcoder: boolean): string | null {
  const found = /^([a-z_]+)\.(\d{1,9})$/.exec(site);
  const known = SITES.some(([name]) => name === found?.[1]);
  if (!found || !(known || found[1] === READ_ONLY))
    return `“${site}” is no site: write one of ${SITES.map(([name]) => name).join(", ")} and a layer, such as mlp_out.${Math.floor(n_layers / 3)}.`;
  if (Number(found[2]) >= n_layers)
    return `There is no layer ${found[2]}: this model has layers 0 to ${n_layers - 1}.`;
  if (!known && !transcoder) return `${site} is read by transcoders only: name a site to write.`;
  return null;
}

/** As clew.sae.recipe.Recipe.name makes it. */
export function recipeName({
  site,
  writes,
  architecture,
  latents,
  sparsity,
  loss,
  k,
  skip,
  resample,
  seed,
}: RecipeRequest): string {
  const words: string[] = [site];
  if (writes !== null) words.push(`to-${writes}`);
  words.push(architecture, String(latents));
  if (hasK(architecture)) words.push(`k${k}`);
  else if (sparsity !== null) words.push(`l${String(Number(sparsity.toPrecision(6)))}`);
  if (architecture === "relu" && loss === "2024") words.push("2024");
  if (skip) words.push("skip");
  if (architecture === "relu" && !resample) words.push("unresampled");
  if (seed) words.push(`s${seed}`);
  return words.join("-");
}

/** As clew.cli.sae_train.name_of makes it: the model's, the first one's, how many more. */
function trainingName(model: string, recipes: readonly RecipeRequest[]): string {
  const words = [model.replace(/[^A-Za-z0-9._-]+/g, "--").replace(/^[-.]+|[-.]+$/g, "")];
  if (recipes[0]) words.push(recipeName(recipes[0]));
  if (recipes.length > 1) words.push(`and-${recipes.length - 1}-more`);
  return words.join("-").slice(0, 96);
}

/** The name, or with the first number behind it that makes it another. */
function untaken(name: string, taken: readonly string[]): string {
  if (!taken.includes(name)) return name;
  for (let n = 2; ; n++) if (!taken.includes(`${name}-${n}`)) return `${name}-${n}`;
}
