import type { NodeChange, NodeEffect, Token } from "../../api/types";
import { largest } from "../../colour/scale";
import { writtenBy } from "../../url/ids";
import type { Column, Compared, Sort, View } from "../../url/view";

export interface ColumnInfo {
  column: Column;
  label: string;
  title: string;
  /** A signed effect is blue or orange, an amount emerald; names and plain numbers are neither. */
  look: "name" | "effect" | "amount" | "plain";
}

/** A row of the table: a node, and what it is on the other side of a comparison. */
export interface Row extends NodeEffect {
  /** Estimated − verified; null until measured. */
  disagreement: number | null;
  /** null: the table is not a comparison, or this node is not in it. */
  change: NodeChange | null;
}

const NODE: ColumnInfo = {
  column: "id",
  label: "Node",
  title: "The node’s id; upstream first",
  look: "name",
};
const PLACE: ColumnInfo = {
  column: "position",
  label: "At ← from",
  title: "The token it writes at, and the one it reads",
  look: "name",
};
const ACTIVATION: ColumnInfo = {
  column: "activation",
  label: "Activation",
  title: "A neuron’s or latent’s value; an attention weight; the norm of a head’s mix",
  look: "amount",
};
const WRITE_NORM: ColumnInfo = {
  column: "write_norm",
  label: "Write norm",
  title: "Length of the vector added to the stream",
  look: "amount",
};

function verifiedColumns(goal: string): ColumnInfo[] {
  return [
    {
      column: "verified_effect",
      label: "Verified",
      title: `What ${goal} loses when the model runs without it: measured, not guessed`,
      look: "effect",
    },
    {
      column: "disagreement",
      label: "Off by",
      title: "Estimated − verified; ≠ marks rows where they disagree",
      look: "plain",
    },
  ];
}

/** The columns of a table; `goal` names what is explained. Verified effects are there once there is one. */
export function columnsOf(
  goal: "D" | "S",
  compared: Compared | null,
  verified: boolean,
): readonly ColumnInfo[] {
  const direct = `Added to ${goal} straight through the final norm`;
  const estimated = "Activation × gradient: a first-order guess";
  const measured = verified ? verifiedColumns(goal) : [];
  if (compared === null)
    return [
      NODE,
      PLACE,
      {
        column: "direct_effect",
        label: "Direct",
        title: goal === "D" ? direct : "Added to S straight through the norm in front of what is traced",
        look: "effect",
      },
      { column: "estimated_effect", label: "Estimated", title: estimated, look: "effect" },
      ...measured,
      ACTIVATION,
      WRITE_NORM,
    ];
  const [left, right] = compared === "edited" ? ["before", "after"] : ["first", "second"];
  const sides = (name: "direct" | "estimated", label: string, title: string): ColumnInfo[] => [
    { column: `${name}_left`, label: `${label} ${left}`, title: `${title}; ${left}`, look: "effect" },
    {
      column: `${name}_difference`,
      label: "change",
      title: `${label}: ${right} − ${left}`,
      look: "effect",
    },
    { column: `${name}_right`, label: right as string, title: `${title}; ${right}`, look: "effect" },
  ];
  return [
    NODE,
    PLACE,
    ...sides("direct", "Direct", direct),
    ...sides("estimated", "Estim.", estimated),
    ...measured,
  ];
}

/** The sort as this table can follow it: a comparison has both sides and their difference in place of one number. */
export function sortIn(sort: Sort, columns: readonly ColumnInfo[]): Sort {
  if (columns.some(({ column }) => column === sort.column)) return sort;
  const compared = columns.some(({ column }) => column === "direct_difference");
  const name = sort.column.startsWith("estimated") ? "estimated" : "direct";
  return { column: compared ? `${name}_difference` : `${name}_effect`, order: sort.order };
}

/** What a row has in a column; null when it has nothing there. */
export function valueIn(row: Row, column: Column): number | null {
  switch (column) {
    case "id":
      return upstream(row);
    case "direct_left":
      return row.change?.left?.direct_effect ?? null;
    case "direct_right":
      return row.change?.right?.direct_effect ?? null;
    case "direct_difference":
      return row.change?.direct_difference ?? null;
    case "estimated_left":
      return row.change?.left?.estimated_effect ?? null;
    case "estimated_right":
      return row.change?.right?.estimated_effect ?? null;
    case "estimated_difference":
      return row.change?.estimated_difference ?? null;
    default:
      return row[column];
  }
}

/** Whether an estimate and a measurement disagree: by more than 0.1, and by more than half of the larger. */
export function disagrees(estimated: number, verified: number | null): boolean {
  if (verified === null) return false;
  const larger = Math.max(Math.abs(estimated), Math.abs(verified));
  return Math.abs(estimated - verified) > Math.max(0.1, larger / 2);
}

/** The nodes as rows with what was measured of them; nodes that were measured and are not listed are added. */
export function rowsOf(
  nodes: readonly NodeEffect[],
  measured: ReadonlyMap<string, NodeEffect>,
  filters: Pick<View, "kinds" | "layers" | "positions" | "sources">,
): Row[] {
  const listed = new Set(nodes.map(({ id }) => id));
  const added = [...measured.values()].filter((node) => !listed.has(node.id) && passes(node, filters));
  return [...nodes, ...added].map((node) => rowOf(node, measured.get(node.id), null));
}

/** The rows of a comparison, and what was measured besides. The node of a row is the one that can be acted on: the question's own. */
export function comparedRows(
  changes: readonly NodeChange[],
  compared: Compared,
  measured: ReadonlyMap<string, NodeEffect>,
  filters: Pick<View, "kinds" | "layers" | "positions" | "sources">,
): Row[] {
  const rows: Row[] = [];
  const listed = new Set<string>();
  for (const change of changes) {
    const own = compared === "edited" ? change.right : change.left;
    if (own) listed.add(own.id);
    const node = own ?? change.left ?? change.right;
    if (node) rows.push(rowOf({ ...node, id: change.id }, own ? measured.get(own.id) : undefined, change));
  }
  for (const node of measured.values()) {
    if (listed.has(node.id) || !passes(node, filters)) continue;
    // It is known on its own side alone: the comparison did not list it.
    const sides = compared === "edited" ? { left: null, right: node } : { left: node, right: null };
    const change = { id: node.id, ...sides, direct_difference: null, estimated_difference: null };
    rows.push(rowOf(node, node, change));
  }
  return rows;
}

function rowOf(node: NodeEffect, measured: NodeEffect | undefined, change: NodeChange | null): Row {
  // What the server measured for someone else is left out: the column has what the address asks for, in its way.
  const verified = measured?.verified_effect ?? null;
  return {
    ...node,
    verified_effect: verified,
    disagreement: verified === null ? null : node.estimated_effect - verified,
    change,
  };
}

function passes(
  node: NodeEffect,
  filters: Pick<View, "kinds" | "layers" | "positions" | "sources">,
): boolean {
  const among = <T>(chosen: readonly T[], value: T | null) =>
    chosen.length === 0 || (value !== null && chosen.includes(value));
  return (
    among<string>(filters.kinds, node.kind) &&
    among(filters.layers, node.layer) &&
    among(filters.positions, node.position) &&
    among(filters.sources, node.source)
  );
}

/** The largest size behind the colour of each column; activations by group, since their units differ. */
export interface Maxima {
  direct: number;
  estimated: number;
  write_norm: number;
  activation: Record<string, number>;
}

export function groupOf(node: NodeEffect): string {
  if (node.kind === "attn" && node.source !== null) return "part";
  // Each autoencoder has units of its own.
  return node.kind === "latent" ? writtenBy(node.id) : node.kind;
}

/** Both sides of a comparison and their difference share a scale, and so do an estimate and what was measured. */
export function maximaOf(rows: readonly Row[]): Maxima {
  const activation: Record<string, number> = {};
  for (const row of rows) {
    const group = groupOf(row);
    activation[group] = Math.max(activation[group] ?? 0, Math.abs(row.activation ?? 0));
  }
  const over = (columns: readonly Column[]) =>
    largest(rows.flatMap((row) => columns.map((column) => valueIn(row, column) ?? 0)));
  return {
    activation,
    write_norm: over(["write_norm"]),
    direct: over(["direct_effect", "direct_left", "direct_right", "direct_difference"]),
    estimated: over([
      "estimated_effect",
      "verified_effect",
      "estimated_left",
      "estimated_right",
      "estimated_difference",
    ]),
  };
}

export function maximumOf(maxima: Maxima, row: Row, column: Column): number {
  if (column === "activation") return maxima.activation[groupOf(row)] ?? 0;
  if (column === "write_norm") return maxima.write_norm;
  return column.startsWith("direct") ? maxima.direct : maxima.estimated;
}

/** Rows whose id or tokens hold every word of the filter. */
export function matching<Node extends NodeEffect>(
  nodes: readonly Node[],
  find: string,
  tokens: readonly Token[],
): readonly Node[] {
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
export function sorted(rows: readonly Row[], { column, order }: Sort): Row[] {
  const up = order === "asc" ? 1 : -1;
  const key = (row: Row): number | null => {
    const value = valueIn(row, column);
    return value !== null && order === "size" && column !== "id" ? Math.abs(value) : value;
  };
  return rows
    .map((row) => ({ row, key: key(row) }))
    .sort((a, b) => {
      if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null);
      return up * (a.key - b.key);
    })
    .map(({ row }) => row);
}

/** The place of each kind among the others of its layer; a latent or error has that of what it stands for. */
const KIND_ORDER: Readonly<Record<string, number>> = { embed: 0, attn: 0, neuron: 2, resid: 4, bias: 6 };

/** Embeddings, then layer by layer, heads before neurons before the stream after both; constants of the end last. */
function upstream(node: NodeEffect): number {
  const layer = node.kind === "embed" ? 0 : node.layer === null ? 1e6 : node.layer + 1;
  return (layer * 8 + blockOrder(node)) * 1e6 + (node.index ?? 0);
}

function blockOrder({ kind, id }: NodeEffect): number {
  if (kind !== "latent" && kind !== "error") return KIND_ORDER[kind] ?? 6;
  const block = id.split(".")[1]?.split("_")[0] ?? "";
  return (KIND_ORDER[block === "mlp" ? "neuron" : block] ?? 6) + (kind === "error" ? 1 : 0);
}
