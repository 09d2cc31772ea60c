import { oneOf } from "./params";

export const COMPONENT_KINDS = ["attn", "neuron", "latent"] as const;
export type ComponentKind = (typeof COMPONENT_KINDS)[number];

/** The kind of a component by its id. */
export function kindOf(id: string): ComponentKind {
  return oneOf(COMPONENT_KINDS, id.split(".")[0]) ?? "neuron";
}

/** The component that a node or a place of an edit is a run of, such as attn.23.3; null for what has no page. */
export function componentOf(node: string): string | null {
  return /^((?:attn|neuron|latent\.[a-z_]+)\.\d+\.\d+)(?:@|$)/.exec(node)?.[1] ?? null;
}

/** The site that a latent or an error writes, such as mlp_out.10; "" for what is neither. */
export function writtenBy(id: string): string {
  return /^(?:latent|error)\.([a-z_]+\.\d+)/.exec(id)?.[1] ?? "";
}

/** How many of each kind a model has. */
export interface Shape {
  n_layers: number;
  n_heads: number;
  n_neurons: number;
}

/** Sites that an autoencoder's latents write. */
export const WRITTEN = ["mlp_act", "mlp_out", "attn_act", "attn_out", "resid"] as const;

/** The component that somebody typed, or what is wrong with it. Spaces, ← and a node's position do no harm. */
export function readComponent(text: string, shape: Shape | undefined): { id: string } | { problem: string } {
  const typed = text.trim().toLowerCase().replace(/\s+/g, ".");
  const latent = /^(?:latent|l)\.([a-z_]+)\.(\d{1,9})\.(\d{1,9})(?:@.*)?$/.exec(typed);
  if (latent) {
    const [, site = "", layer = "", index = ""] = latent;
    if (!oneOf(WRITTEN, site))
      return { problem: `“${site}” is no site of latents: it is one of ${WRITTEN.join(", ")}.` };
    return noLayer(Number(layer), shape) ?? { id: `latent.${site}.${Number(layer)}.${Number(index)}` };
  }
  const found = /^(attn|neuron|head|h|n)\.(\d{1,9})\.(\d{1,9})(?:@.*)?$/.exec(typed);
  if (!found) {
    const example = `a component is written attn.LAYER.HEAD, neuron.LAYER.NUMBER or latent.SITE.LAYER.NUMBER, such as attn.${shape ? Math.min(23, shape.n_layers - 1) : 5}.3`;
    return { problem: `“${text.trim()}” is no component: ${example}.` };
  }
  const kind = found[1] === "neuron" || found[1] === "n" ? "neuron" : "attn";
  const [layer, index] = [Number(found[2]), Number(found[3])];
  if (shape) {
    const missing = noLayer(layer, shape);
    if (missing) return missing;
    const n = kind === "attn" ? shape.n_heads : shape.n_neurons;
    const what = kind === "attn" ? "head" : "neuron";
    if (index >= n) return { problem: `There is no ${what} ${index}: a layer has ${what}s 0 to ${n - 1}.` };
  }
  return { id: `${kind}.${layer}.${index}` };
}

function noLayer(layer: number, shape: Shape | undefined): { problem: string } | null {
  if (!shape || layer < shape.n_layers) return null;
  return { problem: `There is no layer ${layer}: this model has layers 0 to ${shape.n_layers - 1}.` };
}
