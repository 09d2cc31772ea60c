import type { ReactNode } from "react";
import type { Explanation, NodeDetail, NodeEffect, Question, Token } from "../../api/types";
import { effectBackground, largest } from "../../colour/scale";
import { Button } from "../../components/Button";
import { ComponentLink } from "../../components/ComponentLink";
import { Notice } from "../../components/Notice";
import { Scores } from "../../components/Scores";
import { TokenText } from "../../components/TokenText";
import { signed } from "../../format/number";
import { visible } from "../../format/token";
import { NodeWords } from "./NodeWords";
import { useNode } from "./queries";

/** What an opened node does: the output tokens it pushes, the input tokens that excite it. */
export function NodeDetailRow({
  question,
  node,
  tokens,
  words,
  onRow,
  children,
}: {
  question: Question;
  node: NodeEffect;
  tokens: readonly Token[];
  /** The best explanation of its component; undefined: there is none. */
  words: Explanation | undefined;
  /** Makes another node the one that keys act on. */
  onRow: (id: string) => void;
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
        <NodeWords question={question} node={node.id} words={words} onRow={onRow} />
        {error ? (
          <Notice error={error}>
            <Button onClick={() => refetch()}>Retry</Button>
          </Notice>
        ) : data ? (
          <div className="grid grid-cols-[repeat(auto-fit,minmax(13rem,1fr))] gap-x-6 gap-y-2">
            <Scores title="Pushes up, in logits" scores={data.up} effect />
            <Scores title="Pushes down, in logits" scores={data.down} effect />
            {data.pairs.length > 0 && <Pairs pairs={data.pairs} place={place} />}
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

/** Which heads, reading which tokens, a latent of attention comes from. */
function Pairs({ pairs, place }: { pairs: NodeDetail["pairs"]; place: (position: number | null) => string }) {
  const max = largest(pairs.map(({ share }) => share));
  return (
    <section>
      <h3 className="mb-0.5 text-2xs text-ink-2">Comes from, of its pre-activation</h3>
      <ol>
        {pairs.map(({ node, share }) => {
          const source = /<-(\d+)$/.exec(node)?.[1];
          return (
            <li key={node} className="flex h-4.5 items-center justify-between gap-2 text-xs">
              <span className="truncate">
                <ComponentLink node={node} />{" "}
                <TokenText text={source === undefined ? "" : place(Number(source))} className="text-ink-2" />
              </span>
              <span
                className="num rounded-sm px-1"
                style={{ background: effectBackground(share, max, 0.45) }}
              >
                {signed(share)}
              </span>
            </li>
          );
        })}
      </ol>
    </section>
  );
}
