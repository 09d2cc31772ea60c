import type { Source } from "../api/types";
import { COMPONENT_KINDS, type ComponentKind } from "./ids";
import { oneOf, query } from "./params";

/** Whose explanations of which model, judged by what: what an overview is of. */
export type SourceKey = Omit<Source, "components">;

export const ENDS = ["best", "worst"] as const;
export type End = (typeof ENDS)[number];

/** Everything the page of a model's explanations shows, as the address bar spells it. */
export interface OverviewView {
  /** null: that with most components of the loaded model. */
  source: SourceKey | null;
  /** Another one drawn beside it. */
  beside: SourceKey | null;
  /** Whose scores are drawn by layer; null: the kind with most of them. */
  kind: ComponentKind | null;
  /** Which end of the scores is listed, of which of the two. */
  end: End;
  listed: "first" | "second";
  /** What is to be explained; null: the form is closed. */
  explain: string | null;
}

const PARTS = ["model", "llm", "variant", "scorer", "simulator"] as const;
const VARIANTS = ["examples", "tokens", "contrast", "node", "written", "imported"] as const;
const SCORERS = ["simulation", "detection", "fuzzing", "pairs", "ablation", "intervention"] as const;

/** The view a query string spells. What it cannot mean is ignored. */
export function readOverviewView(search: string): OverviewView {
  const params = new URLSearchParams(search);
  return {
    source: readSource(params, ""),
    beside: readSource(params, "2"),
    kind: oneOf(COMPONENT_KINDS, params.get("kind")) ?? null,
    end: oneOf(ENDS, params.get("list")) ?? "best",
    listed: params.get("of") === "second" ? "second" : "first",
    explain: params.get("explain"),
  };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeOverviewView({ source, beside, kind, end, listed, explain }: OverviewView): string {
  const params = new URLSearchParams();
  writeSource(params, source, "");
  writeSource(params, beside, "2");
  if (kind !== null) params.set("kind", kind);
  if (end !== "best") params.set("list", end);
  if (listed !== "first") params.set("of", listed);
  if (explain !== null) params.set("explain", explain);
  return query(params);
}

function readSource(params: URLSearchParams, suffix: string): SourceKey | null {
  const get = (name: (typeof PARTS)[number]) => params.get(`${name}${suffix}`);
  const [model, llm, simulator] = [get("model"), get("llm"), get("simulator")];
  const variant = oneOf(VARIANTS, get("variant"));
  const scorer = oneOf(SCORERS, get("scorer"));
  if (!model || !llm || !variant || !scorer || simulator === null) return null;
  return { model, llm, variant, scorer, simulator };
}

function writeSource(params: URLSearchParams, source: SourceKey | null, suffix: string): void {
  if (source) for (const name of PARTS) params.set(`${name}${suffix}`, source[name]);
}
