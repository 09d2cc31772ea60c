import type { Score } from "../api/types";
import { count } from "../format/number";
import { beats, failedText, hardest, inFull, scoreText, textsOf } from "../format/score";

/** A score in one line, never without its baseline, its texts and what failed. */
export function Trust({ score, className = "" }: { score: Score | null; className?: string }) {
  if (score === null) return <span className={`text-ink-3 ${className}`}>not scored</span>;
  const { scorer, value, failures } = score;
  const least = hardest(score);
  const n = textsOf(score);
  return (
    <span
      className={`num text-ink-3 ${className}`}
      title={inFull(score)}
      data-testid="trust"
      data-score={value ?? ""}
    >
      {"score "}
      <span className={`font-medium ${beats(score) === false ? "text-ink-2" : "text-ink"}`}>
        {scoreText(scorer, value)}
      </span>
      {` vs ${least ? `${scoreText(scorer, least.value)} ${least.name}` : "no baseline"}, ${count(n)} text${n === 1 ? "" : "s"}, `}
      <span className={failures.length ? "text-bad" : ""}>{failedText(score)}</span>
    </span>
  );
}
