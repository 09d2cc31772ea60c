import { oneOf, query } from "./params";

export const SHELF_COLUMNS = [
  "name",
  "site",
  "architecture",
  "latents",
  "tokens",
  "l0",
  "fvu",
  "ce_recovered",
] as const;
export type ShelfColumn = (typeof SHELF_COLUMNS)[number];

/** Everything the list of autoencoders shows, as the address bar spells it. */
export interface ShelfView {
  find: string;
  /** null: in the order of the server. */
  sort: ShelfColumn | null;
  ascending: boolean;
}

/** The view a query string spells. What it cannot mean is ignored. */
export function readShelfView(search: string): ShelfView {
  const params = new URLSearchParams(search);
  const [sort, order] = (params.get("sort") ?? "").split(".");
  return {
    find: params.get("find") ?? "",
    sort: oneOf(SHELF_COLUMNS, sort) ?? null,
    ascending: order === "asc",
  };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeShelfView({ find, sort, ascending }: ShelfView): string {
  const params = new URLSearchParams();
  if (find) params.set("find", find);
  if (sort !== null) params.set("sort", `${sort}${ascending ? ".asc" : ""}`);
  return query(params);
}
