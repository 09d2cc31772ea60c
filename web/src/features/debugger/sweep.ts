import type { SweepCell } from "../../api/types";

export const SWEPT = ["attn", "resid", "mlp"] as const;
export type Swept = (typeof SWEPT)[number];

/** The cells that have come, by layer and position; those of heads by head as well. */
export interface Swathe {
  attn: (SweepCell | undefined)[][][];
  resid: (SweepCell | undefined)[][];
  mlp: (SweepCell | undefined)[][];
  /** The largest size of a share that has come. */
  largest: number;
}

export function emptySwathe(nLayers: number): Swathe {
  const layers = <T>(): T[][] => Array.from({ length: nLayers }, () => []);
  return { attn: layers(), resid: layers(), mlp: layers(), largest: 0 };
}

/** The same swathe with these cells in it. The old one's rows are written to: it must not be used any more. */
export function withCells(swathe: Swathe, cells: readonly SweepCell[]): Swathe {
  let { largest } = swathe;
  for (const cell of cells) {
    largest = Math.max(largest, Math.abs(cell.restored ?? 0));
    if (cell.kind === "attn") {
      const heads = swathe.attn[cell.layer] ?? [];
      const head = cell.index ?? 0;
      heads[head] ??= [];
      heads[head][cell.position] = cell;
      swathe.attn[cell.layer] = heads;
    } else {
      const row = swathe[cell.kind][cell.layer] ?? [];
      row[cell.position] = cell;
      swathe[cell.kind][cell.layer] = row;
    }
  }
  return { ...swathe, largest };
}

/** The heads of a layer at a position, those that restore (or undo) most first. */
export function headsAt(swathe: Swathe, layer: number, position: number): SweepCell[] {
  return (swathe.attn[layer] ?? []).flatMap((head) => head?.[position] ?? []).sort(bySize);
}

/** The `n` cells of a kind that restore (or undo) most. */
export function strongest(swathe: Swathe, kind: Swept, n: number): SweepCell[] {
  const cells = kind === "attn" ? swathe.attn.flat(2) : swathe[kind].flat();
  return cells
    .filter((cell) => cell !== undefined)
    .sort(bySize)
    .slice(0, n);
}

function bySize(one: SweepCell, other: SweepCell): number {
  return Math.abs(other.restored ?? 0) - Math.abs(one.restored ?? 0);
}

/** The marks of the legend: the ends of the scale, nothing and all of the difference. */
export function legendMarks(largest: number): number[] {
  const end = Math.max(1, largest);
  return end > 1 ? [-end, -1, 0, 1, end] : [-1, 0, 1];
}

/** A place as a person reads it: "head 23.3", "stream after 4", "MLP 4". */
export function placeName({ kind, layer, index }: Pick<SweepCell, "kind" | "layer" | "index">): string {
  if (kind === "attn") return `head ${layer}.${index}`;
  return kind === "resid" ? `stream after ${layer}` : `MLP ${layer}`;
}
