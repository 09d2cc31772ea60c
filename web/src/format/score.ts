import type { Explanation, Score, ScorerName, Variant } from "../api/types";
import { amount, count, signed } from "./number";

/** The scorers, the headline first. */
export const SCORERS = [
  "simulation",
  "detection",
  "fuzzing",
  "pairs",
  "ablation",
  "intervention",
] as const satisfies readonly ScorerName[];

/** What each scorer's number is, in a few words, and what it asks. */
export const MEANING: Record<ScorerName, { number: string; asks: string }> = {
  simulation: {
    number: "correlation",
    asks: "How strongly does each token fire, going by the words alone? Real against simulated activations over all tokens",
  },
  detection: {
    number: "balanced accuracy",
    asks: "Which of these texts make it fire, going by the words alone?",
  },
  fuzzing: {
    number: "balanced accuracy",
    asks: "Are the marked tokens those that it fires on, going by the words alone?",
  },
  pairs: { number: "ROC-AUC", asks: "Does the head attend from the one marked token to the other?" },
  ablation: {
    number: "share of the output kept",
    asks: "Put the simulated activations in place of the real ones: how much closer is the model’s output than with the mean in their place?",
  },
  intervention: {
    number: "share of right choices",
    asks: "Steered along the component, does the model write what the words say?",
  },
};

/** How words came about, as a person says it. */
export const CAME_FROM: Record<Variant, string> = {
  examples: "from examples",
  tokens: "from a list of tokens",
  contrast: "from examples against near misses",
  node: "in one prompt",
  written: "written",
  imported: "imported",
};

/** A score as it is written: with a sign where it can be below zero. */
export function scoreText(scorer: ScorerName, value: number | null | undefined): string {
  return scorer === "simulation" || scorer === "ablation" ? signed(value) : amount(value);
}

/** The last score by each scorer and judge, the headline's scorer first. */
export function latestScores(scores: readonly Score[]): Score[] {
  const found = new Map<string, Score>();
  for (const score of scores) {
    const key = [score.scorer, score.split, score.llm, score.method].join("\n");
    const known = found.get(key);
    if (!known || newer(score, known)) found.set(key, score);
  }
  return [...found.values()].sort(
    (one, other) =>
      SCORERS.indexOf(one.scorer) - SCORERS.indexOf(other.scorer) || (newer(one, other) ? -1 : 1),
  );
}

/** The score to tell of an explanation: by the first scorer that has one, the last that is defined. */
export function headlineOf({ scores }: Pick<Explanation, "scores">): Score | null {
  const latest = latestScores(scores.filter(({ split }) => split === "test"));
  return latest.find(({ value }) => value !== null) ?? latest[0] ?? null;
}

function newer(one: Score, other: Score): boolean {
  return (one.id ?? Number.POSITIVE_INFINITY) > (other.id ?? Number.POSITIVE_INFINITY);
}

/** How many texts were answered. */
export function textsOf({ texts }: Pick<Score, "texts">): number {
  return Object.values(texts).reduce((sum, n) => sum + n, 0);
}

/** The baseline that is hardest to beat; null where none is defined. */
export function hardest({ baselines }: Pick<Score, "baselines">): { name: string; value: number } | null {
  let found: { name: string; value: number } | null = null;
  for (const { name, value } of baselines)
    if (value !== null && (found === null || value > found.value)) found = { name, value };
  return found;
}

/** Whether words say more than the hardest baseline does; null where that cannot be told. */
export function beats(score: Pick<Score, "value" | "baselines">): boolean | null {
  const least = hardest(score);
  return score.value === null || least === null ? null : score.value > least.value;
}

/** "14 texts (5 top, 5 random, 4 near miss)". */
export function textsText({ texts }: Pick<Score, "texts">): string {
  const kinds = Object.entries(texts).map(([kind, n]) => `${count(n)} ${kind.replace("_", " ")}`);
  const n = textsOf({ texts });
  return `${count(n)} text${n === 1 ? "" : "s"}${kinds.length ? ` (${kinds.join(", ")})` : ""}`;
}

export function failedText({ failures }: Pick<Score, "failures">): string {
  return failures.length === 0 ? "none failed" : `${count(failures.length)} failed`;
}

/** All that a score rests on, in a sentence or two. */
export function inFull(score: Score): string {
  const { scorer, value, low, high, llm, method, baselines } = score;
  const range =
    low === null || high === null ? "" : ` (95%: ${scoreText(scorer, low)} to ${scoreText(scorer, high)})`;
  const beside = baselines.map(({ name, value }) => `${name} ${scoreText(scorer, value)}`).join(", ");
  return [
    `${scorer}, ${MEANING[scorer].number}: ${scoreText(scorer, value)}${range}`,
    `${textsText(score)}, ${failedText(score)}`,
    beside ? `without words: ${beside}` : "no baseline",
    `judged by ${llm}${method === null || method === llm ? "" : `, ${method.replaceAll("_", " ")}`}`,
  ].join("; ");
}

/** A language model without what all addresses begin with. */
export function briefly(reference: string): string {
  return reference.replace(/@https?:\/\//, "@").replace(/\/v1$/, "");
}

/** Who wrote words, and from what. */
export function writtenText({ llm, variant }: Pick<Explanation, "llm" | "variant">): string {
  if (llm === "lookup") return "token statistics, no language model";
  return variant === "written" ? `written by ${llm}` : `${briefly(llm)}, ${CAME_FROM[variant]}`;
}
