import type { NodeEffect, Token } from "../../api/types";
import { largest } from "../../colour/scale";
import type { Column, Sort } from "../../url/view";

export interface ColumnInfo {
  column: Column;
  label: string;
  title: string;
  /** A signed effect is blue or orange, an amount emerald; names are neither. */
  look: "name" | "effect" | "amount";
}

export const TABLE_COLUMNS: readonly ColumnInfo[] = [
  { column: "id", label: "Node", title: "The node's id; upstream first", look: "name" },
  {
    column: "position",
    label: "At ← from",
    title: "The token it writes at, and the one it reads",
    look: "name",
  },
  {
    column: "direct_effect",
    label: "Direct",
    title: "Added to D straight through the final norm",
    look: "effect",
  },
  {
    column: "estimated_effect",
    label: "Estimated",
    title: "Activation × gradient: a first-order guess",
    look: "effect",
  },
  {
    column: "verified_effect",
    label: "Verified",
    title: "Measured by running the model without it",
    look: "effect",
  },
  {
    column: "activation",
    label: "Activation",
    title: "A neuron's value; an attention weight; the norm of a head's mix",
    look: "amount",
  },
  {
    column: "write_norm",
    label: "Write norm",
    title: "Length of the vector added to the stream",
    look: "amount",
  },
];

/** The columns that have something to show: verified effects are measured on demand. */
export function columnsOf(nodes: readonly NodeEffect[]): readonly ColumnInfo[] {
  const verified = nodes.some((node) => node.verified_effect !== null);
  return verified ? TABLE_COLUMNS : TABLE_COLUMNS.filter(({ column }) => column !== "verified_effect");
}

export type NumberColumn =
  | "direct_effect"
  | "estimated_effect"
  | "verified_effect"
  | "activation"
  | "write_norm";

/** The largest size in each column; activations by group, since their units differ. */
export type Maxima = Record<Exclude<NumberColumn, "activation">, number> & {
  activation: Record<string, number>;
};

export function groupOf(node: NodeEffect): string {
  return node.kind === "attn" && node.source !== null ? "part" : node.kind;
}

export function maximaOf(nodes: readonly NodeEffect[]): Maxima {
  const activation: Record<string, number> = {};
  for (const node of nodes) {
    const group = groupOf(node);
    activation[group] = Math.max(activation[group] ?? 0, Math.abs(node.activation ?? 0));
  }
  return {
    activation,
    write_norm: largest(nodes.map((node) => node.write_norm)),
    direct_effect: largest(nodes.map((node) => node.direct_effect)),
    estimated_effect: largest(nodes.map((node) => node.estimated_effect)),
    verified_effect: largest(nodes.map((node) => node.verified_effect ?? 0)),
  };
}

/** Rows whose id or tokens hold every word of the filter. */
export function matching(
  nodes: readonly NodeEffect[],
  find: string,
  tokens: readonly Token[],
): readonly NodeEffect[] {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return nodes;
  return nodes.filter((node) => {
    const at = node.position === null ? "" : tokens[node.position]?.text;
    const from = node.source === null ? "" : tokens[node.source]?.text;
    const text = `${node.id} ${node.id.replace("<-", "←")} ${at} ${from}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** A sorted copy; what is not there comes last, whatever the order. */
export function sorted(nodes: readonly NodeEffect[], { column, order }: Sort): NodeEffect[] {
  const up = order === "asc" ? 1 : -1;
  const key = (node: NodeEffect): number | null => {
    if (column === "id") return upstream(node);
    const value = node[column];
    if (value === null) return null;
    return order === "size" ? Math.abs(value) : value;
  };
  return nodes
    .map((node) => ({ node, key: key(node) }))
    .sort((a, b) => {
      if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null);
      return up * (a.key - b.key);
    })
    .map(({ node }) => node);
}

const KIND_ORDER: readonly string[] = ["embed", "attn", "neuron", "bias"];

/** Embeddings, then layer by layer, heads before neurons; constants of the end last. */
function upstream(node: NodeEffect): number {
  const layer = node.kind === "embed" ? 0 : node.layer === null ? 1e6 : node.layer + 1;
  return (layer * 4 + KIND_ORDER.indexOf(node.kind)) * 1e6 + (node.index ?? 0);
}
