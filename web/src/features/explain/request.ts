import type { ExplainPlan, ExplainRequest, LLMs, Method, ScorerName } from "../../api/types";
import { count, short } from "../../format/number";
import { args, opened, pythonText } from "../../format/python";
import { SCORERS } from "../../format/score";
import { shellText } from "../../format/shell";
import type { Chosen } from "../../url/params";
import { numberOf } from "../sae/plan";

/** What needs no language model. */
export const LOOKUP = "lookup";

export const VARIANTS = ["examples", "tokens", "contrast"] as const satisfies ExplainRequest["variants"];
export const METHODS = ["all_at_once", "token_by_token", "json"] as const satisfies readonly Method[];
const MOST = { candidates: 20, revisions: 10, budget: 1e12 };

/** Neurons that are offered to be explained where none are named yet. */
export const NEURONS = 200;

/** How components are to be explained, as it is being written down. */
export interface Recipe {
  llm: string;
  /** "": what explains. */
  simulator: string;
  /** null: the best that the simulator can. */
  method: Method | null;
  variants: ExplainRequest["variants"];
  scorers: ScorerName[];
  /** As they are typed. */
  candidates: string;
  revisions: string;
  /** Tokens; "": no limit. */
  budget: string;
  /** Whether also those are explained that are explained in this way already. */
  redo: boolean;
}

export const FIRST_RECIPE: Recipe = {
  llm: LOOKUP,
  simulator: "",
  method: null,
  variants: ["examples"],
  scorers: ["simulation"],
  candidates: "1",
  revisions: "0",
  budget: "",
  redo: false,
};

/** Whether a language model is asked anything at all. */
export function asksNothing({ llm, simulator }: Pick<Recipe, "llm" | "simulator">): boolean {
  return llm === LOOKUP && (simulator === "" || simulator === LOOKUP);
}

/** The request that a recipe stands for, or what is wrong with it. */
export function requestOf(
  recipe: Recipe,
  components: readonly string[],
  among: Chosen,
): { request: ExplainRequest } | { problem: string } {
  const { llm, simulator, method, variants, scorers } = recipe;
  const candidates = numberOf(recipe.candidates);
  const revisions = numberOf(recipe.revisions);
  const budget = budgetOf(recipe.budget);
  const named = components.map((name) => name.trim()).filter(Boolean);
  if (named.length === 0) return { problem: "Name the components to explain, such as neuron.5.0-199." };
  if (llm.trim() === "") return { problem: "Name a language model, such as MODEL@http://localhost:8000/v1." };
  if (scorers.length === 0)
    return { problem: "Choose a scorer: words without a score are not to be trusted." };
  if (variants.length === 0) return { problem: "Choose what the explainer is shown." };
  if (!within(candidates, 1, MOST.candidates))
    return { problem: `Give a number of candidates from 1 to ${MOST.candidates}.` };
  if (!within(revisions, 0, MOST.revisions))
    return { problem: `Give a number of revisions from 0 to ${MOST.revisions}.` };
  if (budget === undefined) return { problem: "Give a budget in tokens, such as 200k, or none." };
  const judge = simulator.trim() || llm.trim();
  const lookup = llm.trim() === LOOKUP;
  return {
    request: {
      components: named,
      llm: llm.trim(),
      simulator: judge === llm.trim() ? null : judge,
      method: judge === LOOKUP ? null : method,
      // A lookup has one way to find words, and finds the same ones each time.
      variants: lookup ? ["examples"] : VARIANTS.filter((name) => variants.includes(name)),
      candidates: lookup ? 1 : candidates,
      revisions: lookup ? 0 : revisions,
      scorers: SCORERS.filter((name) => scorers.includes(name)),
      budget,
      seed: 0,
      redo: recipe.redo,
      autoencoders: among === null ? null : [...among],
    },
  };
}

/** A budget that was typed: null for none, undefined for what is not one. */
export function budgetOf(text: string): number | null | undefined {
  if (text.trim() === "") return null;
  const budget = numberOf(text);
  return within(budget, 1, MOST.budget) ? budget : undefined;
}

function within(value: number | null, low: number, high: number): value is number {
  return value !== null && Number.isInteger(value) && value >= low && value <= high;
}

/** The names of components that were typed, with commas or spaces between. */
export function namesOf(text: string): string[] {
  return text.split(/[,;\s]+/).filter(Boolean);
}

/** Tokens that a plan takes at most. */
export function tokensOf(plan: Pick<ExplainPlan, "prompt_tokens" | "completion_tokens">): number {
  return plan.prompt_tokens + plan.completion_tokens;
}

/** What something costs at most, in words. */
export function costText(
  cost: Pick<ExplainPlan, "requests" | "prompt_tokens" | "completion_tokens" | "money">,
): string {
  if (cost.requests === 0) return "nothing is asked of a language model";
  const money = cost.money === null ? "" : `, ${cost.money.toPrecision(3)} in money`;
  return `at most ${count(cost.requests)} request${cost.requests === 1 ? "" : "s"}, ${short(cost.prompt_tokens)} tokens sent and ${short(cost.completion_tokens)} received${money}`;
}

/** The command that does the same in a terminal. */
export function toCommand(model: string, asked: ExplainRequest): string {
  const parts = ["clew explain", shellText(model)];
  for (const name of asked.components) parts.push(`--components ${shellText(name)}`);
  parts.push(`--llm ${shellText(asked.llm)}`);
  if (asked.simulator !== null) parts.push(`--simulator ${shellText(asked.simulator)}`);
  if (asked.method !== null) parts.push(`--method ${asked.method}`);
  if (asked.variants.join() !== "examples")
    for (const name of asked.variants) parts.push(`--variant ${name}`);
  if (asked.candidates !== 1) parts.push(`--candidates ${asked.candidates}`);
  if (asked.revisions !== 0) parts.push(`--revisions ${asked.revisions}`);
  if (asked.scorers.join() !== "simulation") for (const name of asked.scorers) parts.push(`--scorer ${name}`);
  if (asked.budget !== null) parts.push(`--budget ${asked.budget}`);
  if (asked.redo) parts.push("--redo");
  for (const name of asked.autoencoders ?? []) parts.push(`--sae ${shellText(name)}`);
  return parts.join(" ");
}

/** A Python program that prints the explanations of a component. */
export function toPython(model: string, id: string, autoencoders: readonly string[]): string {
  return [
    "import clew",
    "from clew.explain.store.explanations import Explanations",
    "from clew.explain.subjects import subject_of",
    "",
    `model = clew.load(${pythonText(model)})`,
    opened(autoencoders),
    `node = components.named(${pythonText(id)})`,
    `print(Explanations().of(${args("subject_of(components, node)", "str(node)")}))`,
    "",
  ].join("\n");
}

/** What to know before a language model that was named is asked; null when there is nothing. */
export function warning(reference: string, llms: LLMs | undefined): string | null {
  const row = llms?.rows.find((one) => one.reference === reference);
  if (row) return row.key === false ? "No key is set for it, which is right where none is needed." : null;
  return llms && !llms.others
    ? "This server answers others than this machine, and asks only what it was given."
    : null;
}
