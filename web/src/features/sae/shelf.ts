import type { Autoencoder } from "../../api/types";
import { csvText } from "../../format/csv";
import { pythonText } from "../../format/python";
import type { ShelfColumn } from "../../url/shelfView";

/** What an autoencoder reads, and of a transcoder what it writes. */
export function siteOf({ reads, writes }: Pick<Autoencoder, "reads" | "writes">): string {
  return reads === writes ? reads : `${reads} → ${writes}`;
}

/** What its latents stand in place of: a layer's MLP, its attention, or the stream after it. */
export function blockOf(site: string): string {
  return site.replace(/_(act|out|in)\b/, "");
}

/** How it chooses what fires: topk, 32. */
export function architectureOf({ architecture, k }: Pick<Autoencoder, "architecture" | "k">): string {
  return k === null ? architecture : `${architecture}, k = ${k}`;
}

/** Those that hold every word that is looked for, in the order that is asked for; what is not there comes last. */
export function arranged(
  rows: readonly Autoencoder[],
  { find, sort, ascending }: { find: string; sort: ShelfColumn | null; ascending: boolean },
): Autoencoder[] {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => {
    const text = [row.name, siteOf(row), row.architecture, row.format, row.model ?? ""]
      .join(" ")
      .toLowerCase();
    return words.every((word) => text.includes(word));
  });
  if (sort === null) return found;
  const way = ascending ? 1 : -1;
  return found.sort((one, other) => {
    const [a, b] = [sortedBy(one, sort), sortedBy(other, sort)];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return (
      way * (typeof a === "string" ? a.localeCompare(String(b), undefined, { numeric: true }) : a - Number(b))
    );
  });
}

function sortedBy(row: Autoencoder, column: ShelfColumn): string | number | null {
  return column === "site" ? siteOf(row) : row[column];
}

const EXPORTED = [
  "name",
  "reference",
  "model",
  "reads",
  "writes",
  "architecture",
  "activation",
  "latents",
  "k",
  "format",
  "dtype",
  "tokens",
  "l0",
  "fvu",
  "ce_recovered",
  "fits",
] as const satisfies readonly (keyof Autoencoder)[];

export function toCsv(rows: readonly Autoencoder[]): string {
  return csvText(
    EXPORTED,
    rows.map((row) =>
      EXPORTED.map((name) => (typeof row[name] === "boolean" ? String(row[name]) : row[name])),
    ),
  );
}

/** A Python program that opens an autoencoder beside its model, and reads what it is worth. */
export function toPython(model: string, reference: string, judge = false): string {
  return `${[
    "import clew",
    "from clew.sae import load",
    ...(judge ? ["from clew.sae.evaluate import evaluate"] : []),
    "",
    `model = clew.load(${pythonText(model)})`,
    `autoencoder = load(${pythonText(reference)})`,
    judge ? "print(evaluate(model, autoencoder))" : "print(autoencoder.origin)",
  ].join("\n")}\n`;
}
