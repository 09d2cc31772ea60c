import { api } from "../../api/client";
import type { Token } from "../../api/types";
import { csvText } from "../../format/csv";
import { args, many, opened, pythonText } from "../../format/python";
import { type ColumnKey, type FiringMode, PAGE, type SearchView, SORTS } from "../../url/searchView";
import { COLUMNS, type Found, needsAtlas } from "./columns";

/** One page of what was found; `tokens` are the prompt's, where one was asked about. */
export interface Results {
  total: number;
  rows: readonly Found[];
  tokens: readonly Token[];
}

/** A search that can be asked as it stands. */
export interface Asking {
  view: SearchView;
  mode: FiringMode;
  prompt: string;
  sort: ColumnKey;
}

/** What the view asks for; null while it asks for nothing. Without an atlas it is sorted by what there is. */
export function askingOf(view: SearchView, example: string | undefined, hasAtlas: boolean): Asking | null {
  const prompt = view.prompt ?? example;
  const { mode } = view;
  if (mode === "words" || (mode === "prompt" ? !prompt : !view.token)) return null;
  if (mode === "token" && !hasAtlas) return null;
  const wished = (SORTS[mode] as readonly ColumnKey[]).find((key) => key === view.sort) ?? SORTS[mode][0];
  const possible = hasAtlas || !needsAtlas(mode, wished);
  return {
    view,
    mode,
    prompt: prompt ?? "",
    sort: possible ? wished : mode === "prompt" ? "activation" : "push",
  };
}

/** Asks the server for `limit` of the found components, from the `offset`th on. */
export async function search(
  { view, mode, prompt, sort }: Asking,
  offset: number,
  limit: number,
  signal?: AbortSignal,
): Promise<Results> {
  const among = {
    kinds: view.kinds.length ? view.kinds : null,
    layers: view.layers.length ? view.layers : null,
    autoencoders: view.autoencoders === null ? null : [...view.autoencoders],
    max_density: view.density,
    ascending: view.ascending,
    offset,
    limit,
  };
  // The sort is one of this mode's: readSearchView and askingOf see to that.
  const by = { ...among, sort: sort as never };
  const token = view.token ?? "";
  switch (mode) {
    case "prompt":
      return api.searchPrompt({ ...by, prompt, bos: view.bos, position: view.at }, signal);
    case "token":
      return { tokens: [], ...(await api.searchToken({ ...by, token }, signal)) };
    case "push":
      return { tokens: [], ...(await api.searchPushed({ ...by, token }, signal)) };
  }
}

/** The rows as CSV with a header, in full precision; what is not there is empty. */
export function toCsv(mode: FiringMode, rows: readonly Found[]): string {
  const keys = COLUMNS[mode].map(({ key }) => key);
  const place = mode === "prompt" ? ["position" as const] : [];
  return csvText(
    ["id", ...place, ...keys],
    rows.map((row) => [row.id, ...place.map((key) => row[key]), ...keys.map((key) => row[key])]),
  );
}

const METHODS = { prompt: "search_prompt", token: "search_token", push: "search_pushed" } as const;

/** A Python program that prints the same page of the same search. */
export function toPython(
  model: string,
  { view, mode, prompt, sort }: Asking,
  autoencoders: readonly string[],
): string {
  const asked =
    mode === "prompt"
      ? [pythonText(prompt), view.at === null ? "" : `position=${view.at}`, view.bos ? "bos=True" : ""]
      : [pythonText(view.token ?? "")];
  const call = args(
    ...asked,
    `sort=${pythonText(sort)}`,
    many("kinds", view.kinds.map(pythonText)),
    many("layers", view.layers),
    view.density === null ? "" : `max_density=${view.density}`,
    view.ascending ? "ascending=True" : "",
    view.page > 0 ? `offset=${view.page * PAGE}` : "",
  );
  return [
    "import clew",
    "",
    `model = clew.load(${pythonText(model)})`,
    opened(autoencoders),
    `found = components.${METHODS[mode]}(${call})`,
    "print(found.total)",
    "print(found)",
    "",
  ].join("\n");
}
