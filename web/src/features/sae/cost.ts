import type { Model, RecipeRequest } from "../../api/types";
import { hasK, widthOf } from "./plan";

/** What a training takes, as far as it can be known beforehand. */
export interface Cost {
  steps: number;
  /** Numbers that are learned, and the bytes that they, their gradients and Adam's two moments take. */
  parameters: number;
  bytes: number;
  /** Floating-point operations a token. */
  operations: number;
  /** A rough guess. */
  seconds: number;
}

/** Operations a second that training reaches: measured on two CPU cores, and a guess of what a GPU makes of fp32. */
const SPEED = { cpu: 80e9, other: 10e12 } as const;
/**
 * Products of tokens with a matrix of weights that a step takes: x·W, f·Wᵀ and three in the backward pass; where few latents
 * fire and the backward pass uses it, about as much as two and a bit.
 */
const DENSE = 5;
const SPARSE = 2.3;

/** The cost of training these in one pass over the text. */
export function costOf(
  recipes: readonly RecipeRequest[],
  { tokens, batch }: { tokens: number; batch: number },
  model: Pick<Model, "n_layers" | "n_neurons" | "d_model" | "gated" | "device">,
): Cost {
  let parameters = 0;
  let learning = 0;
  let last = -1;
  for (const { site, writes, latents, architecture } of recipes) {
    const [read, write] = [widthOf(site, model), widthOf(writes ?? site, model)];
    parameters += latents * (read + write + 1) + write;
    learning += (hasK(architecture) ? SPARSE : DENSE) * latents * (read + write);
    for (const one of [site, writes ?? site])
      last = Math.max(last, Number(one.slice(one.lastIndexOf(".") + 1)));
  }
  const { d_model: d, n_neurons: n, gated, device } = model;
  const layer = 2 * (4 * d * d + (gated ? 3 : 2) * d * n);
  const operations = learning + layer * (last + 1);
  return {
    steps: Math.max(1, Math.floor(tokens / batch)),
    parameters,
    bytes: 4 * 4 * parameters,
    operations,
    seconds: (operations * tokens) / (device.startsWith("cpu") ? SPEED.cpu : SPEED.other),
  };
}
