import type { Model, NodeEffect, Through, Token } from "../../api/types";
import { visible } from "../../format/token";

/** A step of a trace, taken apart. */
export interface Step {
  node: string;
  through: string;
}

export function readStep(text: string): Step {
  const at = text.lastIndexOf(":");
  return at < 0 ? { node: text, through: "" } : { node: text.slice(0, at), through: text.slice(at + 1) };
}

export interface Way {
  through: Through;
  label: string;
  /** The key that takes this way once the trace has the focus. */
  key: string;
  title: string;
}

const WAYS: Record<Through, Way> = {
  q: { through: "q", label: "query", key: "q", title: "What made its query ask for this token" },
  k: { through: "k", label: "key", key: "k", title: "What made that token’s key answer" },
  both: { through: "both", label: "both", key: "b", title: "Through both at once" },
  v: { through: "v", label: "value", key: "v", title: "What wrote what it carries" },
  gate: { through: "gate", label: "gate", key: "g", title: "What opened its gate" },
  up: { through: "up", label: "up", key: "u", title: "What its gate lets through" },
  in: { through: "in", label: "input", key: "i", title: "What drives its input" },
};

/** The one way through a latent. */
const ENCODER: Way = { ...WAYS.in, label: "encoder", title: "What drives its pre-activation" };

/** The inputs of a node that a trace can go through; none for what reads no residual stream. */
export function waysOf(node: NodeEffect, model: Model | undefined): readonly Way[] {
  if (node.kind === "attn") return node.source === null ? [WAYS.v] : [WAYS.q, WAYS.k, WAYS.both, WAYS.v];
  if (node.kind === "latent") return [ENCODER];
  if (node.kind !== "neuron") return [];
  return model?.gated ? [WAYS.gate, WAYS.up, WAYS.both] : [WAYS.in];
}

/** Why a node cannot be traced; null when it can. */
export function noTrace(node: NodeEffect): string | null {
  if (node.kind === "embed") return "An embedding reads nothing: this is where a trace ends.";
  if (node.kind === "error") return "An error is what no latent explains: nothing is known of what makes it.";
  if (node.kind === "bias") return "A bias is a constant: nothing upstream makes it.";
  return null;
}

const NAMES: Record<string, string> = {
  q: "its query",
  k: "its key",
  v: "its value",
  gate: "its gate",
  up: "its up branch",
  in: "its input",
};

/** How a crumb names the input. */
export function throughName({ node, through }: Step): string {
  if (node.startsWith("latent")) return "encoder";
  if (through === "both") return node.startsWith("attn") ? "query and key" : "gate and up";
  return { q: "query", k: "key", v: "value", gate: "gate", up: "up", in: "input" }[through] ?? through;
}

/** What a step explains, in words. `before` is the step that a value is taken of; undefined: D. */
export function explained(step: Step, tokens: readonly Token[], before: Step | undefined): string {
  const at = (position: string | undefined) => visible(tokens[Number(position)]?.text ?? "");
  const head = /^attn\.(\d+\.\d+)@(\d+)(?:<-(\d+))?$/.exec(step.node);
  if (head) {
    const [, name, position, source] = head;
    if (step.through === "v") {
      const read = source === undefined ? "" : ` from ${at(source)}`;
      const of = before ? `the step before (${before.node.replace("<-", "←")})` : "D";
      return `what head ${name} writes at ${at(position)}${read}, as it moves ${of}, through its value`;
    }
    const through = step.through === "both" ? "its query and key" : NAMES[step.through];
    return `attention score of head ${name}, ${at(position)} reading ${at(source)}, through ${through}`;
  }
  const neuron = /^neuron\.(\d+\.\d+)@(\d+)$/.exec(step.node);
  if (neuron) {
    const [, name, position] = neuron;
    if (step.through === "both")
      return `activation of neuron ${name} at ${at(position)}, through gate and up`;
    const what = { gate: "gate", up: "up branch", in: "input" }[step.through] ?? step.through;
    return `${what} of neuron ${name} at ${at(position)}`;
  }
  const latent = /^latent\.([a-z_]+\.\d+)\.(\d+)@(\d+)$/.exec(step.node);
  if (latent) {
    const [, site, index, position] = latent;
    return `pre-activation of latent ${index} of ${site} at ${at(position)}`;
  }
  return `${step.node} through ${step.through}`;
}

/** The positions whose residual stream a step reads. */
export function readingAt({ node, through }: Step): number[] {
  const [, at, source] = /@(\d+)(?:<-(\d+))?$/.exec(node) ?? [];
  const position = Number(at ?? 0);
  // A latent of attention reads what the heads do: every token up to its own.
  if (node.startsWith("latent.attn")) return Array.from({ length: position + 1 }, (_, i) => i);
  if (!node.startsWith("attn")) return [position];
  if (source === undefined) return Array.from({ length: position + 1 }, (_, i) => i);
  if (through === "q") return [position];
  if (through === "both") return [...new Set([position, Number(source)])];
  return [Number(source)];
}
