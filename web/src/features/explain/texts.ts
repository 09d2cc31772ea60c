import type { ScoredText } from "../../api/types";
import type { TextsShown } from "../../url/componentView";

export const KINDS = ["top", "random", "near_miss"] as const;

export const KIND_NAMES: Record<ScoredText["kind"], string> = {
  top: "top",
  band: "band",
  random: "random",
  near_miss: "near miss",
};

export function textsShown(texts: readonly ScoredText[], shown: TextsShown): readonly ScoredText[] {
  if (shown === "none") return [];
  return shown === "all" ? texts : texts.filter(({ kind }) => kind === shown);
}

/** Pearson's correlation of two lists; null when either does not vary. */
export function correlation(one: readonly number[], other: readonly number[]): number | null {
  const n = Math.min(one.length, other.length);
  if (n < 2) return null;
  const mean = (values: readonly number[]) => values.slice(0, n).reduce((sum, value) => sum + value, 0) / n;
  const [a, b] = [mean(one), mean(other)];
  let [both, ofOne, ofOther] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    const [x, y] = [(one[i] as number) - a, (other[i] as number) - b];
    both += x * y;
    ofOne += x * x;
    ofOther += y * y;
  }
  return ofOne > 1e-12 && ofOther > 1e-12 ? both / Math.sqrt(ofOne * ofOther) : null;
}
