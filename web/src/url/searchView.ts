import type { PromptSearch, PushSearch, TokenSearch, WordsSearch } from "../api/types";
import { COMPONENT_KINDS, type ComponentKind } from "./ids";
import { type Chosen, list, numbers, oneOf, query, readChosen, whole, writeChosen } from "./params";

export const MODES = ["prompt", "token", "push", "words"] as const;
export type Mode = (typeof MODES)[number];
/** The searches by what components do; that by words is one among explanations. */
export type FiringMode = Exclude<Mode, "words">;

/** What each search can be sorted by; the first is what it opens with. */
export const SORTS = {
  prompt: ["z", "activation", "ratio", "density", "strong"],
  token: ["share", "examples", "activation", "density", "strong"],
  push: ["push", "density", "strong"],
  words: ["relevance", "score"],
} as const satisfies {
  prompt: readonly PromptSearch["sort"][];
  token: readonly TokenSearch["sort"][];
  push: readonly PushSearch["sort"][];
  words: readonly NonNullable<WordsSearch["sort"]>[];
};
export type SortKey = (typeof SORTS)[Mode][number];
/** What components can be sorted by. */
export type ColumnKey = (typeof SORTS)[FiringMode][number];

/** Rows of one page of a search. */
export const PAGE = 50;

/** Everything the search page shows, as the address bar spells it. */
export interface SearchView {
  mode: Mode;
  /** The text to search by; null: the server's example. */
  prompt: string | null;
  bos: boolean;
  /** Whose latents are among the components. */
  autoencoders: Chosen;
  /** null: anywhere, each component at its own strongest token. */
  at: number | null;
  /** The token that is looked for, or that is pushed; null: none was given. */
  token: string | null;
  /** What explanations have to say; "": anything. */
  words: string;
  /** The embedding model that says what is near in meaning; null: explanations have to have the words themselves. */
  near: string | null;
  /** Only words by this explainer; null: by any. */
  by: string | null;
  /** The least score; null: any, or none. */
  score: number | null;
  kinds: ComponentKind[];
  layers: number[];
  /** The largest share of tokens that a component may fire strongly on; null: any. */
  density: number | null;
  /** null: what the search opens with. */
  sort: SortKey | null;
  ascending: boolean;
  /** Counts from 0; the address counts from 1. */
  page: number;
}

const DEFAULT: SearchView = {
  mode: "prompt",
  prompt: null,
  bos: false,
  autoencoders: null,
  at: null,
  token: null,
  words: "",
  near: null,
  by: null,
  score: null,
  kinds: [],
  layers: [],
  density: null,
  sort: null,
  ascending: false,
  page: 0,
};

/** The view a query string spells. What it cannot mean is ignored. */
export function readSearchView(search: string): SearchView {
  const params = new URLSearchParams(search);
  const mode = oneOf(MODES, params.get("by")) ?? DEFAULT.mode;
  const [sort, order] = (params.get("sort") ?? "").split(".");
  return {
    mode,
    prompt: params.get("p"),
    bos: params.get("bos") === "1",
    autoencoders: readChosen(params),
    at: whole(params.get("at")),
    token: params.get("token"),
    words: params.get("words") ?? "",
    near: params.get("near") || null,
    by: params.get("llm") || null,
    score: correlation(params.get("score")),
    kinds: list(params.get("kinds")).flatMap((kind) => oneOf(COMPONENT_KINDS, kind) ?? []),
    layers: numbers(params.get("layers")),
    density: share(params.get("density")),
    sort: oneOf<SortKey>(SORTS[mode], sort) ?? null,
    ascending: order === "asc",
    page: Math.max(0, (whole(params.get("page")) ?? 1) - 1),
  };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeSearchView(view: SearchView): string {
  const params = new URLSearchParams();
  if (view.mode !== DEFAULT.mode) params.set("by", view.mode);
  if (view.prompt !== null) params.set("p", view.prompt);
  if (view.bos) params.set("bos", "1");
  writeChosen(params, view.autoencoders);
  if (view.at !== null) params.set("at", String(view.at));
  if (view.token !== null) params.set("token", view.token);
  if (view.words !== "") params.set("words", view.words);
  if (view.near !== null) params.set("near", view.near);
  if (view.by !== null) params.set("llm", view.by);
  if (view.score !== null) params.set("score", String(view.score));
  if (view.kinds.length) params.set("kinds", view.kinds.join(","));
  if (view.layers.length) params.set("layers", view.layers.join(","));
  if (view.density !== null) params.set("density", String(view.density));
  if (view.sort !== null || view.ascending)
    params.set("sort", `${view.sort ?? SORTS[view.mode][0]}${view.ascending ? ".asc" : ""}`);
  if (view.page > 0) params.set("page", String(view.page + 1));
  return query(params);
}

function share(text: string | null): number | null {
  const value = text !== null && /^(\d*\.)?\d+(e-\d)?$/.test(text) ? Number(text) : Number.NaN;
  return value >= 0 && value <= 1 ? value : null;
}

function correlation(text: string | null): number | null {
  const value = text !== null && /^-?(\d*\.)?\d+$/.test(text) ? Number(text) : Number.NaN;
  return value >= -1 && value <= 1 ? value : null;
}

/** Layers as a person writes them, "20-29, 3"; null when they are not to be made sense of. */
export function readLayers(text: string): number[] | null {
  const layers = new Set<number>();
  for (const part of text.split(/[,;\s]+/).filter(Boolean)) {
    const found = /^(\d{1,4})(?:[-–](\d{1,4}))?$/.exec(part);
    if (!found) return null;
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (last < first) return null;
    for (let layer = first; layer <= last; layer++) layers.add(layer);
  }
  return [...layers].sort((one, other) => one - other);
}

/** The shortest way to write layers: neighbours become a range. */
export function writeLayers(layers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const layer of layers) {
    const range = ranges.at(-1);
    if (range && layer === range[1] + 1) range[1] = layer;
    else ranges.push([layer, layer]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}
