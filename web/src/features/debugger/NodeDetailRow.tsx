import type { ReactNode } from "react";
import type { NodeEffect, Question, Token } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Scores } from "../../components/Scores";
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
