import type { Architecture } from "../api/types";
import { list, oneOf, query } from "./params";

export const ARCHITECTURES = [
  "topk",
  "batchtopk",
  "matryoshka",
  "jumprelu",
  "relu",
] as const satisfies readonly Architecture[];
export const LOSSES = ["2023", "2024"] as const;

/** What is typed as text: each is read once it is needed, and "" takes the default. */
export const TEXTS = [
  "name",
  "latents",
  "k",
  "sparsity",
  "tokens",
  "corpus",
  "writes",
  "rate",
  "batch",
  "context",
  "buffer",
  "warmup",
  "decay",
  "clip",
  "save",
  "seed",
] as const;
export type TextField = (typeof TEXTS)[number];

/** A training as it is being written down, as the address bar spells it. */
export interface TrainForm extends Record<TextField, string> {
  /** null: one in the first half of the model. */
  sites: string[] | null;
  architectures: Architecture[];
  loss: (typeof LOSSES)[number];
  /** Whether a transcoder has a linear term past its latents. */
  skip: boolean;
  resample: boolean;
  bos: boolean;
  replace: boolean;
}

/** The form a query string spells. What it cannot mean is ignored. */
export function readTrainForm(search: string): TrainForm {
  const params = new URLSearchParams(search);
  const texts = Object.fromEntries(TEXTS.map((name) => [name, params.get(name) ?? ""])) as Record<
    TextField,
    string
  >;
  const architectures = list(params.get("architecture")).flatMap((name) => oneOf(ARCHITECTURES, name) ?? []);
  return {
    ...texts,
    sites: params.has("site") ? list(params.get("site")) : null,
    architectures: architectures.length ? [...new Set(architectures)] : ["topk"],
    loss: oneOf(LOSSES, params.get("loss")) ?? "2023",
    skip: params.get("skip") === "1",
    resample: params.get("resample") !== "0",
    bos: params.get("bos") === "1",
    replace: params.get("replace") === "1",
  };
}

/** The query string of a form, with its "?", or "" for an untouched one. */
export function writeTrainForm(form: TrainForm): string {
  const params = new URLSearchParams();
  if (form.sites !== null) params.set("site", form.sites.join(","));
  if (form.architectures.join() !== "topk") params.set("architecture", form.architectures.join(","));
  for (const name of TEXTS) if (form[name]) params.set(name, form[name]);
  if (form.loss !== "2023") params.set("loss", form.loss);
  if (form.skip) params.set("skip", "1");
  if (!form.resample) params.set("resample", "0");
  if (form.bos) params.set("bos", "1");
  if (form.replace) params.set("replace", "1");
  return query(params);
}
