import type { TokenScore } from "../api/types";
import { activationBackground, effectBackground, largest } from "../colour/scale";
import { signed } from "../format/number";
import { TokenText } from "./TokenText";

/** Tokens of the vocabulary with a number each, under a title. */
export function Scores({
  title,
  scores,
  effect = false,
}: {
  title: string;
  scores: readonly TokenScore[];
  effect?: boolean;
}) {
  const max = largest(scores.map(({ score }) => score));
  return (
    <section>
      <h3 className="mb-0.5 text-2xs text-ink-2">{title}</h3>
      <ol>
        {scores.map(({ id, text, score }) => (
          <li key={id} title={`id ${id}`} className="flex h-4.5 items-center justify-between gap-2 text-xs">
            <TokenText text={text} className="truncate" />
            <span
              className="num rounded-sm px-1"
              style={{
                background: effect
                  ? effectBackground(score, max, 0.45)
                  : activationBackground(Math.max(0, score), max, 0.45),
              }}
            >
              {signed(score)}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
