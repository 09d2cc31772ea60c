import type { Candidate, ComparedAnswers } from "../../api/types";
import { Button } from "../../components/Button";
import { Panel } from "../../components/Panel";
import { TokenText } from "../../components/TokenText";
import { percent, signed } from "../../format/number";
import type { Compared, View } from "../../url/view";
import { ComparedCandidates } from "./ComparedCandidates";
import type { Shown } from "./queries";

/** What the model would say next. A click makes a token the distractor, or the target. */
export function CandidateTable({
  shown,
  stale,
  compared,
  against,
  onAsk,
  onContinue,
}: {
  shown: Shown | null;
  stale: boolean;
  /** Both sides, when the tables compare. */
  compared: ComparedAnswers | null;
  against: Compared | null;
  onAsk: (change: Partial<View>) => void;
  /** Lets the model go on from the prompt; null: it does already. */
  onContinue: (() => void) | null;
}) {
  if (!shown) return null;
  const { question, answer } = shown;
  const targets = answer.direction.targets.map((token) => token.text);
  const distractors = answer.direction.distractors.map((token) => token.text);
  const spelled = { prompt: question.prompt, at: question.position, bos: question.bos };
  const toggle = (side: "targets" | "distractors", text: string) => {
    const without = (texts: string[]) => texts.filter((other) => other !== text);
    const mine = side === "targets" ? targets : distractors;
    // A plain click names this token alone; clicking it again takes it away.
    const next = mine.includes(text) ? without(mine) : [text];
    onAsk(
      side === "targets"
        ? { ...spelled, targets: next, distractors: without(distractors) }
        : { ...spelled, distractors: next, targets: without(targets) },
    );
  };
  return (
    <Panel
      title="Next token"
      className={stale ? "stale" : ""}
      actions={
        <>
          <span className="truncate text-2xs text-ink-3">
            after <TokenText text={answer.tokens[answer.direction.position]?.text ?? ""} />
          </span>
          {onContinue && (
            <Button className="ml-auto" title="Let the model go on from the prompt" onClick={onContinue}>
              Continue the text
            </Button>
          )}
        </>
      }
    >
      {compared && against ? (
        <ComparedCandidates
          candidates={compared.comparison.candidates}
          compared={against}
          targets={targets}
          distractors={distractors}
        />
      ) : (
        <Single
          candidates={answer.candidates}
          targets={targets}
          distractors={distractors}
          onToggle={toggle}
        />
      )}
    </Panel>
  );
}

function Single({
  candidates,
  targets,
  distractors,
  onToggle,
}: {
  candidates: readonly Candidate[];
  targets: readonly string[];
  distractors: readonly string[];
  onToggle: (side: "targets" | "distractors", text: string) => void;
}) {
  return (
    <>
      <table className="w-full table-fixed border-collapse text-xs">
        <colgroup>
          <col className="w-8" />
          <col />
          <col className="w-27" />
          <col className="w-12" />
          <col className="w-17" />
        </colgroup>
        <thead className="sr-only">
          <tr>
            <th>Rank</th>
            <th>Token</th>
            <th>Probability</th>
            <th>Logit</th>
            <th>Use as</th>
          </tr>
        </thead>
        <tbody>
          {candidates.map((candidate) => {
            const { text } = candidate;
            const isTarget = targets.includes(text);
            const isDistractor = distractors.includes(text);
            const bar = isTarget ? "bg-toward" : isDistractor ? "bg-against" : "bg-ink-3";
            return (
              <tr key={candidate.id} className="border-t border-line">
                <td className="num py-0.5 pl-3 text-right text-ink-3">{candidate.rank + 1}</td>
                <td
                  className="truncate py-0.5 pl-2"
                  title={`id ${candidate.id} · log-probability ${signed(candidate.logprob)}`}
                >
                  <TokenText text={text} />
                </td>
                <td className="py-0.5">
                  <span className="flex items-center gap-1.5">
                    <span className="h-2 flex-1 rounded-sm bg-raised">
                      <span
                        className={`block h-full rounded-sm ${bar}`}
                        style={{ width: `${candidate.probability * 100}%`, minWidth: 1 }}
                      />
                    </span>
                    <span className="num w-13 text-right">{percent(candidate.probability)}</span>
                  </span>
                </td>
                <td className="num py-0.5 text-right text-ink-2" title="logit">
                  {signed(candidate.logit)}
                </td>
                <td className="py-0.5 pr-2 text-right whitespace-nowrap">
                  <Side
                    tone="toward"
                    on={isTarget}
                    label={`${isTarget ? "No longer the target" : "Make the target"}: ${text}`}
                    onClick={() => onToggle("targets", text)}
                  />
                  <Side
                    tone="against"
                    on={isDistractor}
                    label={`${isDistractor ? "No longer the distractor" : "Make the distractor"}: ${text}`}
                    onClick={() => onToggle("distractors", text)}
                  />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <p className="border-t border-line px-3 py-1 text-2xs text-ink-3">
        <span className="text-toward-ink">+</span> makes a token the target,{" "}
        <span className="text-against-ink">−</span> the distractor.
      </p>
    </>
  );
}

function Side({
  tone,
  on,
  label,
  onClick,
}: {
  tone: "toward" | "against";
  on: boolean;
  label: string;
  onClick: () => void;
}) {
  const look = on
    ? tone === "toward"
      ? "border-toward bg-toward text-white"
      : "border-against bg-against text-white"
    : `border-line text-ink-2 hover:border-line-strong ${tone === "toward" ? "hover:text-toward-ink" : "hover:text-against-ink"}`;
  return (
    <button
      type="button"
      aria-pressed={on}
      aria-label={label}
      title={label}
      onClick={onClick}
      className={`ml-1 inline-flex size-5.5 items-center justify-center rounded border font-mono text-xs font-semibold ${look}`}
    >
      {tone === "toward" ? "+" : "−"}
    </button>
  );
}
