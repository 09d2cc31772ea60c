import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api } from "../../api/client";
import { EXPLAINED } from "../../api/explanations";
import type { ComponentExplanations, Explanation } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Trust } from "../../components/Trust";
import { Words } from "../../components/Words";
import { amount } from "../../format/number";
import { headlineOf, writtenText } from "../../format/score";
import { Confirm } from "../sae/Confirm";

/** The other explanations of a component: candidates that were not chosen, earlier ones, those of one prompt. */
export function History({
  rows,
  shown,
  onShow,
}: {
  /** Newest first. */
  rows: readonly Explanation[];
  /** The one that is shown above. */
  shown: number | null;
  onShow: (id: number | null) => void;
}) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: (id: number) => api.removeExplanation(id),
    onSuccess: () => client.invalidateQueries({ queryKey: [EXPLAINED] }),
  });
  return (
    <details className="group border-t border-line" data-testid="history">
      <summary className="px-3 py-1.5 text-xs text-ink-2 hover:text-ink">
        {rows.length === 1 ? "One explanation" : `All ${rows.length} explanations: candidates and history`}
      </summary>
      {remove.error && <Notice error={remove.error} className="mx-3 mb-2" />}
      <ol className="border-t border-line">
        {rows.map((row) => {
          const here = row.id === shown;
          return (
            <li
              key={row.id}
              data-explanation={row.id}
              aria-current={here ? "true" : undefined}
              className={`flex flex-col gap-0.5 border-b border-line px-3 py-1.5 last:border-b-0 ${here ? "shadow-[inset_2px_0_0_var(--focus)]" : ""}`}
            >
              <div className="flex items-start gap-3">
                <p className="min-w-0 flex-1 text-xs break-words">
                  <Words text={row.text} />
                </p>
                <div className="flex shrink-0 gap-1">
                  <Button
                    disabled={here}
                    title={here ? "It is shown above" : "Show it above, with its scores and texts"}
                    onClick={() => onShow(row.id)}
                  >
                    Show
                  </Button>
                  <Confirm
                    label="Delete"
                    question="With its scores?"
                    sure="Delete"
                    title="It cannot be brought back; answers of language models stay known"
                    disabled={remove.isPending}
                    onSure={() => {
                      if (row.id === null) return;
                      if (here) onShow(null);
                      remove.mutate(row.id);
                    }}
                  />
                </div>
              </div>
              <p className="flex flex-wrap gap-x-3 text-2xs text-ink-3">
                <Trust score={headlineOf(row)} />
                <Facts row={row} />
              </p>
            </li>
          );
        })}
      </ol>
    </details>
  );
}

/** Who wrote words, when, from what, and what they were chosen by. */
export function Facts({ row }: { row: Explanation }) {
  return (
    <>
      <span className="num">#{row.id}</span>
      <span>{writtenText(row)}</span>
      {row.prompt !== "" && <span title="The version of the prompt">{row.prompt}</span>}
      {!row.chosen && <span>a candidate that was not chosen</span>}
      {row.validation !== null && (
        <span title="The score on other texts that it was chosen by">
          validation {amount(row.validation)}
        </span>
      )}
      {row.parent !== null && <span>revises #{row.parent}</span>}
      {row.node !== null && (
        <span title={row.question ?? undefined}>
          of <span className="font-mono">{row.node.replace("<-", "←")}</span> in one prompt
        </span>
      )}
      {row.created !== null && <time dateTime={row.created}>{when(row.created)}</time>}
    </>
  );
}

/** A moment as a person writes it, in the reader's own time. */
function when(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.valueOf())) return iso;
  const two = (n: number) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** What was tried in vain. */
export function Problems({ problems }: { problems: ComponentExplanations["problems"] }) {
  if (problems.length === 0) return null;
  return (
    <details className="border-t border-line" data-testid="problems">
      <summary className="px-3 py-1.5 text-xs text-bad">
        {problems.length === 1 ? "One attempt failed" : `${problems.length} attempts failed`}
      </summary>
      <ul className="px-3 pb-2 text-xs text-ink-2">
        {problems.map(({ stage, failure }, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: the same may have failed twice
          <li key={i}>
            {stage}: {failure.kind}, {failure.message}
          </li>
        ))}
      </ul>
    </details>
  );
}
