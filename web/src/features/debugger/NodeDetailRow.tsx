import type { ReactNode } from "react";
import type { NodeEffect, Question, Token, TokenScore } from "../../api/types";
import { activationBackground, effectBackground, largest } from "../../colour/scale";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { TokenText } from "../../components/TokenText";
import { signed } from "../../format/number";
import { visible } from "../../format/token";
import { useNode } from "./queries";

/** What an opened node does: the output tokens it pushes, the input tokens that excite it. */
export function NodeDetailRow({
  question,
  node,
  tokens,
  children,
}: {
  question: Question;
  node: NodeEffect;
  tokens: readonly Token[];
  /** The tools of the node. */
  children: ReactNode;
}) {
  const { data, error, refetch } = useNode(question, node.id);
  const place = (position: number | null) => (position === null ? "" : visible(tokens[position]?.text ?? ""));
  return (
    <div
      role="row"
      tabIndex={-1}
      className="border-b border-line bg-page py-2"
      data-testid={`detail-${node.id}`}
    >
      <div role="cell" className="sticky left-0 max-w-[calc(100vw-2rem)] px-3">
        {children}
        {error ? (
          <Notice error={error}>
            <Button onClick={() => refetch()}>Retry</Button>
          </Notice>
        ) : data ? (
          <div className="grid grid-cols-[repeat(auto-fit,minmax(13rem,1fr))] gap-x-6 gap-y-2">
            <Scores title="Pushes up, in logits" scores={data.up} effect />
            <Scores title="Pushes down, in logits" scores={data.down} effect />
            {data.excited_by.map((excitation) => (
              <Scores
                key={excitation.through}
                title={
                  excitation.through === "input"
                    ? "Input tokens that excite it"
                    : excitation.through === "query"
                      ? `At ${place(excitation.position)}, would look more at ${place(excitation.source)}`
                      : `At ${place(excitation.source)}, would be read more from ${place(excitation.position)}`
                }
                scores={excitation.tokens}
              />
            ))}
          </div>
        ) : (
          <div role="status" className="skeleton h-48">
            <span className="sr-only">Reading the node</span>
          </div>
        )}
      </div>
    </div>
  );
}

function Scores({
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
