import { useState } from "react";
import type { Score } from "../../api/types";
import { Icon } from "../../components/Icon";
import { Tip } from "../../components/Tip";
import { count, signed } from "../../format/number";
import {
  beats,
  briefly,
  failedText,
  inFull,
  latestScores,
  MEANING,
  scoreText,
  textsOf,
  textsText,
} from "../../format/score";

const WIDTH = 132;
const BASELINES = ["table", "mean", "shuffled"] as const;

/** What words scored: each scorer's number with its interval, texts, failures and baselines. */
export function ScoreTable({ scores }: { scores: readonly Score[] }) {
  const rows = latestScores(scores);
  return (
    <div className="overflow-x-auto">
      <table className="w-full border-collapse text-xs" aria-label="Scores">
        <thead>
          <tr className="border-b border-line text-2xs text-ink-3">
            <th className="py-0.5 pr-2 text-left font-normal">Scorer</th>
            <th className="px-2 max-sm:px-1 text-right font-normal">Score</th>
            <th className="px-2 max-sm:px-1 text-left font-normal max-sm:hidden">95% interval</th>
            <th className="px-2 max-sm:px-1 text-left font-normal">Texts</th>
            {BASELINES.map((name) => (
              <th
                key={name}
                className="px-2 max-sm:px-1 text-right font-normal"
                title={BASELINE_TITLES[name]}
              >
                {name}
              </th>
            ))}
            <th className="w-full px-2 text-left font-normal">Judged by</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((score) => (
            <Row key={`${score.id} ${score.scorer} ${score.llm} ${score.method}`} score={score} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const BASELINE_TITLES: Record<(typeof BASELINES)[number], string> = {
  table: "Without words: each token looked up in the examples that the explainer saw",
  mean: "Without words: the same everywhere",
  shuffled: "The words’ answers, each given to another text",
};

function Row({ score }: { score: Score }) {
  const { scorer, split, value, low, high, failures, baselines, measures, llm, method } = score;
  const [open, setOpen] = useState(false);
  const others = Object.entries(measures).filter(([, measure]) => measure !== null);
  const worthless = beats(score) === false;
  return (
    <>
      <tr data-scorer={scorer} title={inFull(score)} className="border-b border-line last:border-b-0">
        <td className="h-6.5 pr-2 whitespace-nowrap">
          <button
            type="button"
            aria-expanded={open}
            title={`${MEANING[scorer].asks} Click for ${others.length} more measures${failures.length ? " and what failed" : ""}.`}
            onClick={() => setOpen(!open)}
            className="inline-flex items-baseline gap-1 hover:underline"
          >
            <Icon
              name="chevron"
              size={10}
              className={`self-center text-ink-3 transition-transform ${open ? "rotate-90" : ""}`}
            />
            {scorer}
          </button>
          <span className="text-2xs text-ink-3 max-sm:hidden">
            {" "}
            {MEANING[scorer].number}
            {split !== "test" && `, on ${split}`}
          </span>
        </td>
        <td className="num px-2 max-sm:px-1 text-right text-sm font-semibold" data-testid="score">
          {scoreText(scorer, value)}
        </td>
        <td className="px-2 max-sm:hidden">
          <span className="flex items-center gap-2">
            <Interval score={score} />
            <span className="num text-2xs text-ink-2">
              {low === null || high === null
                ? "–"
                : `${scoreText(scorer, low)} to ${scoreText(scorer, high)}`}
            </span>
          </span>
        </td>
        <td className="num px-2 max-sm:px-1" title={textsText(score)}>
          {count(textsOf(score))}
          {", "}
          <span
            className={failures.length ? "text-bad" : "text-ink-3"}
            title={failures[0] ? `${failures[0].kind}: ${failures[0].message}` : undefined}
          >
            {failedText(score)}
          </span>
        </td>
        {BASELINES.map((name) => {
          const baseline = baselines.find((one) => one.name === name)?.value ?? null;
          return (
            <td
              key={name}
              data-baseline={name}
              className={`num px-2 max-sm:px-1 text-right ${worthless && baseline !== null && value !== null && baseline >= value ? "font-medium text-bad" : "text-ink-2"}`}
              title={BASELINE_TITLES[name]}
            >
              {scoreText(scorer, baseline)}
            </td>
          );
        })}
        <td className="max-w-0 min-w-32 truncate px-2 text-ink-2" title={llm}>
          <span className="font-mono text-2xs">{briefly(llm)}</span>
          {method !== null && method !== llm && (
            <span className="text-2xs text-ink-3"> {method.replaceAll("_", " ")}</span>
          )}
        </td>
      </tr>
      {open && (
        <tr className="border-b border-line">
          <td colSpan={8} className="py-1.5">
            <dl className="flex flex-wrap gap-x-5 gap-y-1">
              {others.map(([name, measure]) => (
                <div key={name} className="flex gap-1.5 text-2xs">
                  <dt className="text-ink-3">{name.replaceAll("_", " ")}</dt>
                  <dd className="num">{signed(measure)}</dd>
                </div>
              ))}
            </dl>
            {failures.length > 0 && (
              <ul className="mt-1 text-2xs text-bad" aria-label="What failed">
                {[...new Set(failures.map(({ kind, message }) => `${kind}: ${message}`))].map((failure) => (
                  <li key={failure}>{failure}</li>
                ))}
              </ul>
            )}
          </td>
        </tr>
      )}
    </>
  );
}

/** The interval on a line from the least to the most that can be, the score as a dot, the baselines as ticks. */
function Interval({ score }: { score: Score }) {
  const { scorer, value, low, high, baselines } = score;
  const [tip, setTip] = useState<DOMRect | null>(null);
  const least = scorer === "simulation" || scorer === "ablation" ? -0.25 : 0;
  const x = (number: number) =>
    ((Math.max(least, Math.min(1, number)) - least) / (1 - least)) * (WIDTH - 8) + 4;
  return (
    <>
      <svg
        width={WIDTH}
        height={16}
        role="img"
        aria-label="The score among its baselines"
        className="shrink-0 max-sm:hidden"
        onPointerEnter={(event) => setTip(event.currentTarget.getBoundingClientRect())}
        onPointerLeave={() => setTip(null)}
      >
        <line x1={4} x2={WIDTH - 4} y1={8} y2={8} stroke="var(--line-strong)" />
        {least < 0 && <line x1={x(0)} x2={x(0)} y1={5} y2={11} stroke="var(--line-strong)" />}
        {baselines.map(
          ({ name, value }) =>
            value !== null && (
              <line
                key={name}
                x1={x(value)}
                x2={x(value)}
                y1={2}
                y2={14}
                stroke="var(--ink-3)"
                strokeWidth={1.5}
                strokeDasharray={name === "table" ? undefined : "2 1.5"}
              />
            ),
        )}
        {low !== null && high !== null && (
          <line
            x1={x(low)}
            x2={x(high)}
            y1={8}
            y2={8}
            stroke="var(--active)"
            strokeWidth={3}
            opacity={0.55}
          />
        )}
        {value !== null && <circle cx={x(value)} cy={8} r={3.5} fill="var(--active)" />}
      </svg>
      {tip && (
        <Tip anchor={tip}>
          The dot is the score, the band its 95% interval; ticks are what is reached without words: solid the
          token table, dashed the others.
        </Tip>
      )}
    </>
  );
}
