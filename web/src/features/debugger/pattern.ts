import type { NodeEffect } from "../../api/types";

/** Row P holds the weights of what token P attends to, tokens 0 to P. */
export type Rows = readonly (readonly number[])[];

/** A head's id in numbers; null when it is none. */
export function parseHead(head: string | null): { layer: number; index: number } | null {
  const found = /^attn\.(\d+)\.(\d+)$/.exec(head ?? "");
  return found ? { layer: Number(found[1]), index: Number(found[2]) } : null;
}

export interface Weight {
  position: number;
  weight: number;
}

/** What token `position` attends to, the largest weight first. */
export function attendedBy(rows: Rows, position: number): Weight[] {
  return byWeight((rows[position] ?? []).map((weight, source) => ({ position: source, weight })));
}

/** What attends to token `position`, itself left out, the largest weight first. */
export function attendingTo(rows: Rows, position: number): Weight[] {
  return byWeight(
    rows.flatMap((row, from) => (from > position ? [{ position: from, weight: row[position] ?? 0 }] : [])),
  );
}

function byWeight(weights: Weight[]): Weight[] {
  return weights.sort((one, other) => other.weight - one.weight);
}

/** The heads of the table with the largest direct effects, each once. */
export function leadingHeads(nodes: readonly NodeEffect[], n: number): string[] {
  const heads = nodes
    .filter(({ kind, source }) => kind === "attn" && source === null)
    .sort((one, other) => Math.abs(other.direct_effect) - Math.abs(one.direct_effect))
    .map(({ layer, index }) => `attn.${layer}.${index}`);
  return [...new Set(heads)].slice(0, n);
}
