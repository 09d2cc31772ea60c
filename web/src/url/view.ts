import type { Ablation, Filters, Question, Status } from "../api/types";
import { decimal, list, numbers, oneOf, query, readChosen, whole, writeChosen } from "./params";

/** Everything the page shows, as the address bar spells it. What is at its default is left out. */
export interface View {
  /** null: the server's example. */
  prompt: string | null;
  targets: string[];
  distractors: string[];
  /** null: the last token. */
  at: number | null;
  bos: boolean;
  /** Autoencoders, by name, whose latents stand in place of heads, neurons or the stream; null: those of the server. */
  autoencoders: string[] | null;
  kinds: Kind[];
  layers: number[];
  positions: number[];
  sources: number[];
  top: number;
  find: string;
  sort: Sort;
  map: MapName;
  strip: StripName;
  /** Ids of the nodes whose rows are open. */
  open: string[];
  /** The stack of edits, in order, as the server reads them; one that begins with "!" is switched off. */
  edits: string[];
  /** The second prompt; null: there is none. */
  second: string | null;
  /** After which of its tokens the second prompt's D is read; null: the counterpart of the first one's. */
  secondAt: number | null;
  /** For each token of the prompt its counterpart in the second one; null: aligned by their tokens. */
  alignment: (number | null)[] | null;
  /** What is explained instead of D, step by step upstream, each NODE:THROUGH. */
  trace: string[];
  /** What the tables stand beside; null: a single table. */
  compare: Compared | null;
  /** How many of the most promising nodes are measured; null: none. */
  verify: number | null;
  /** Ids of nodes that are measured besides. */
  measured: string[];
  ablation: Ablation;
  /** Whether the rest of a cut pair's row is scaled to sum to 1 again while it is measured. */
  renormalise: boolean;
  /** Whether only the rows are listed whose estimate and measurement disagree. */
  disagree: boolean;
  sweep: boolean;
  generate: boolean;
  /** How a continuation is drawn. */
  sampling: Sampling;
  /** The head whose attention pattern is open, such as attn.23.3. */
  head: string | null;
}

export interface Sampling {
  /** Tokens to add. */
  n: number;
  /** 0: always the likeliest. */
  temperature: number;
  seed: number;
}

export const COMPARED = ["edited", "second"] as const;
export type Compared = (typeof COMPARED)[number];

export const ABLATIONS = ["zero", "mean", "resample"] as const satisfies readonly Ablation[];

export const KINDS = ["embed", "attn", "neuron", "latent", "error", "bias"] as const;
export type Kind = (typeof KINDS)[number];

export const MAPS = ["direct", "estimated", "lens"] as const;
export type MapName = (typeof MAPS)[number];

export const STRIPS = ["attn_to", "attn_from", "mlp", "embed"] as const;
export type StripName = (typeof STRIPS)[number];

export const COLUMNS = [
  "id",
  "position",
  "source",
  "activation",
  "write_norm",
  "direct_effect",
  "estimated_effect",
  "verified_effect",
  "disagreement",
  "direct_left",
  "direct_difference",
  "direct_right",
  "estimated_left",
  "estimated_difference",
  "estimated_right",
] as const;
export type Column = (typeof COLUMNS)[number];
export const ORDERS = ["size", "desc", "asc"] as const;
export interface Sort {
  column: Column;
  /** `size` is largest absolute value first. */
  order: (typeof ORDERS)[number];
}

export const TOPS = [10, 30, 100, 300] as const;

export const DEFAULT_VIEW: View = {
  prompt: null,
  targets: [],
  distractors: [],
  at: null,
  bos: false,
  autoencoders: null,
  kinds: [],
  layers: [],
  positions: [],
  sources: [],
  top: 30,
  find: "",
  sort: { column: "direct_effect", order: "size" },
  map: "direct",
  strip: "attn_to",
  open: [],
  edits: [],
  second: null,
  secondAt: null,
  alignment: null,
  trace: [],
  compare: null,
  verify: null,
  measured: [],
  ablation: "zero",
  renormalise: false,
  disagree: false,
  sweep: false,
  generate: false,
  sampling: { n: 24, temperature: 0, seed: 0 },
  head: null,
};

/** The view a query string spells. What it cannot mean is ignored. */
export function readView(search: string): View {
  const params = new URLSearchParams(search);
  const [column, order] = (params.get("sort") ?? "").split(".");
  return {
    prompt: params.get("p"),
    targets: params.getAll("t"),
    distractors: params.getAll("d"),
    at: whole(params.get("at")),
    bos: params.get("bos") === "1",
    autoencoders: readChosen(params),
    kinds: list(params.get("kinds")).flatMap((kind) => oneOf(KINDS, kind) ?? []),
    layers: numbers(params.get("layers")),
    positions: numbers(params.get("positions")),
    sources: numbers(params.get("sources")),
    top: whole(params.get("top")) ?? DEFAULT_VIEW.top,
    find: params.get("find") ?? "",
    sort: {
      column: oneOf(COLUMNS, column) ?? DEFAULT_VIEW.sort.column,
      order: oneOf(ORDERS, order) ?? DEFAULT_VIEW.sort.order,
    },
    map: oneOf(MAPS, params.get("map")) ?? DEFAULT_VIEW.map,
    strip: oneOf(STRIPS, params.get("strip")) ?? DEFAULT_VIEW.strip,
    open: list(params.get("open")),
    edits: params.getAll("e"),
    second: params.get("p2"),
    secondAt: whole(params.get("at2")),
    alignment: params.has("align")
      ? list(params.get("align")).map((part) => (part === "-" ? null : whole(part)))
      : null,
    trace: params.getAll("tr"),
    compare: oneOf(COMPARED, params.get("cmp")) ?? null,
    verify: whole(params.get("v")),
    measured: list(params.get("vn")),
    ablation: oneOf(ABLATIONS, params.get("abl")) ?? DEFAULT_VIEW.ablation,
    renormalise: params.get("renorm") === "1",
    disagree: params.get("dis") === "1",
    sweep: params.get("sweep") === "1",
    generate: params.get("gen") === "1",
    sampling: {
      n: whole(params.get("n")) ?? DEFAULT_VIEW.sampling.n,
      temperature: decimal(params.get("temp")) ?? DEFAULT_VIEW.sampling.temperature,
      seed: whole(params.get("seed")) ?? DEFAULT_VIEW.sampling.seed,
    },
    head: params.get("head"),
  };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeView(view: View): string {
  const params = new URLSearchParams();
  if (view.prompt !== null) params.set("p", view.prompt);
  for (const text of view.targets) params.append("t", text);
  for (const text of view.distractors) params.append("d", text);
  if (view.at !== null) params.set("at", String(view.at));
  if (view.bos) params.set("bos", "1");
  writeChosen(params, view.autoencoders);
  for (const name of ["kinds", "layers", "positions", "sources", "open"] as const) {
    if (view[name].length) params.set(name, view[name].join(","));
  }
  if (view.top !== DEFAULT_VIEW.top) params.set("top", String(view.top));
  if (view.find) params.set("find", view.find);
  const { column, order } = view.sort;
  if (column !== DEFAULT_VIEW.sort.column || order !== DEFAULT_VIEW.sort.order) {
    params.set("sort", `${column}.${order}`);
  }
  if (view.map !== DEFAULT_VIEW.map) params.set("map", view.map);
  if (view.strip !== DEFAULT_VIEW.strip) params.set("strip", view.strip);
  for (const edit of view.edits) params.append("e", edit);
  if (view.second !== null) params.set("p2", view.second);
  if (view.secondAt !== null) params.set("at2", String(view.secondAt));
  if (view.alignment !== null) params.set("align", view.alignment.map((to) => to ?? "-").join(","));
  for (const step of view.trace) params.append("tr", step);
  if (view.compare !== null) params.set("cmp", view.compare);
  if (view.verify !== null) params.set("v", String(view.verify));
  if (view.measured.length) params.set("vn", view.measured.join(","));
  if (view.ablation !== DEFAULT_VIEW.ablation) params.set("abl", view.ablation);
  if (view.renormalise) params.set("renorm", "1");
  if (view.disagree) params.set("dis", "1");
  if (view.sweep) params.set("sweep", "1");
  if (view.generate) params.set("gen", "1");
  for (const [name, key] of [
    ["n", "n"],
    ["temp", "temperature"],
    ["seed", "seed"],
  ] as const) {
    const value = view.sampling[key];
    if (value !== DEFAULT_VIEW.sampling[key]) params.set(name, String(value));
  }
  if (view.head !== null) params.set("head", view.head);
  return query(params);
}

/**
 * What the view asks the server; null while there is nothing to ask.
 *
 * `attached` are the autoencoders that the server was started with, undefined while they are not known.
 */
export function questionOf(
  view: Pick<View, AskedPart>,
  example: Status["example"] | undefined,
  attached: readonly string[] | undefined,
): Question | null {
  const { prompt, targets, distractors } = view;
  const autoencoders = view.autoencoders ?? attached;
  if (autoencoders === undefined) return null;
  const changed = {
    autoencoders: [...autoencoders],
    position: view.at,
    bos: view.bos,
    edits: view.edits.filter((edit) => !isOff(edit)),
    second: view.second === null ? null : { prompt: view.second, position: view.secondAt },
    alignment: view.alignment,
    trace: view.trace,
  };
  if (prompt !== null) return { prompt, targets, distractors, ...changed };
  if (!example) return null;
  const named = targets.length > 0 || distractors.length > 0;
  return {
    prompt: example.prompt,
    targets: named ? targets : [example.target],
    distractors: named ? distractors : [example.distractor],
    ...changed,
  };
}

/** The parts of a view that its question is made of. */
type AskedPart =
  | "prompt"
  | "targets"
  | "distractors"
  | "at"
  | "bos"
  | "autoencoders"
  | "edits"
  | "second"
  | "secondAt"
  | "alignment"
  | "trace";

/** Whether an edit of the stack is switched off; the server never sees such a one. */
export function isOff(edit: string): boolean {
  return edit.startsWith("!");
}

/** The edit switched on if it was off, and off if it was on. */
export function switched(edit: string): string {
  return isOff(edit) ? edit.slice(1) : `!${edit}`;
}

/** The filters to ask the server for; null when its first answer already has what the view wants. */
export function filtersOf(view: View): Filters | null {
  const { kinds, layers, positions, sources, top } = view;
  const filtered = kinds.length || layers.length || positions.length || sources.length;
  return filtered || top !== DEFAULT_VIEW.top ? allFilters(view) : null;
}

/** The filters of a view, spelled out. */
export function allFilters({ kinds, layers, positions, sources, top }: View): Filters {
  return {
    top,
    threshold: null,
    kinds: kinds.length ? kinds : null,
    layers: layers.length ? layers : null,
    positions: positions.length ? positions : null,
    sources: sources.length ? sources : null,
  };
}
