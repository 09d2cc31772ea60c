import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client";
import { EXPLAINED, useExplanations } from "../../api/explanations";
import type { Explanation, NodeExplainRequest, Question } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Trust } from "../../components/Trust";
import { Words } from "../../components/Words";
import { short } from "../../format/number";
import { briefly, headlineOf, writtenText } from "../../format/score";
import { componentOf } from "../../url/ids";
import { LLMField } from "../explain/LLMField";
import { costText, LOOKUP, tokensOf } from "../explain/request";
import { useRecipe } from "../explain/useRecipe";
import { citedParts, citedRow } from "./cited";

/** What a node's component does in general, in words, and what the node does in this prompt, if one has it told. */
export function NodeWords({
  question,
  node,
  words,
  onRow,
}: {
  question: Question;
  node: string;
  /** The best explanation of its component; undefined: there is none. */
  words: Explanation | undefined;
  onRow: (id: string) => void;
}) {
  const component = componentOf(node);
  const [asking, setAsking] = useState(false);
  const kept = useExplanations(component, question.autoencoders);
  // What has no component, such as an embedding, has nothing to be explained.
  if (component === null) return null;
  const told = (kept.data?.rows ?? []).find(
    (row) => row.node === node && row.question?.startsWith(`${question.prompt}\n`),
  );
  return (
    <div className="mb-2 flex flex-col gap-1.5 text-xs">
      {words && (
        <p className="flex flex-wrap items-baseline gap-x-3" data-testid="component-words">
          <span className="text-ink-2">In general</span>
          <span className="text-sm">
            <Words text={words.text} />
          </span>
          <Trust score={headlineOf(words)} className="text-2xs" />
          <span className="text-2xs text-ink-3">{writtenText(words)}</span>
        </p>
      )}
      {told && <Told key={told.id} told={told} onRow={onRow} />}
      {asking ? (
        <Ask question={question} node={node} onClose={() => setAsking(false)} />
      ) : (
        <div>
          <Button
            title="A language model says in words what it does here, from what was measured; the cost is told first"
            onClick={() => setAsking(true)}
          >
            {told ? "Explain again…" : "Explain in this prompt…"}
          </Button>
        </div>
      )}
    </div>
  );
}

/** An explanation in one prompt; its citations show the rows that they rest on, and nodes in them lead to the table. */
function Told({ told, onRow }: { told: Explanation; onRow: (id: string) => void }) {
  const [marked, setMarked] = useState<readonly number[]>([]);
  return (
    <div data-testid="node-explanation" className="flex flex-col gap-1">
      <p className="flex items-baseline gap-x-3">
        <span className="shrink-0 text-ink-2">In this prompt</span>
        <span className="text-sm">
          {citedParts(told.text).map(({ text, rows }, i) =>
            rows.length === 0 ? (
              // biome-ignore lint/suspicious/noArrayIndexKey: a part is its place
              <Words key={i} text={text} />
            ) : (
              <button
                // biome-ignore lint/suspicious/noArrayIndexKey: a part is its place
                key={i}
                type="button"
                title="Show what this rests on"
                onClick={() => setMarked(rows)}
                className="num text-2xs text-ink-2 underline decoration-line-strong underline-offset-2 hover:text-ink"
              >
                {text}
              </button>
            ),
          )}
        </span>
      </p>
      <ol aria-label="Rows that it cites" className="flex flex-col text-2xs text-ink-2">
        {told.cited.map((line) => {
          const { number, parts } = citedRow(line);
          return (
            <li
              key={line}
              aria-current={marked.includes(number) ? "true" : undefined}
              className={`flex gap-2 rounded-sm px-1 ${marked.includes(number) ? "bg-raised text-ink" : ""}`}
            >
              <span className="num w-6 shrink-0 text-right text-ink-3">[{number}]</span>
              <span className="min-w-0 break-words">
                {parts.map(({ text, node }, i) =>
                  node ? (
                    <button
                      // biome-ignore lint/suspicious/noArrayIndexKey: a part is its place
                      key={i}
                      type="button"
                      title="Go to its row"
                      onClick={() => onRow(text)}
                      className="font-mono underline decoration-line-strong underline-offset-2 hover:text-ink"
                    >
                      {text.replace("<-", "←")}
                    </button>
                  ) : (
                    text
                  ),
                )}
              </span>
            </li>
          );
        })}
      </ol>
      <p className="text-2xs text-ink-3" title={told.question ?? undefined}>
        {briefly(told.llm)}; not scored: it speaks of this prompt alone, so go by the rows that it cites
      </p>
    </div>
  );
}

/** Who is asked, at what cost, and then the asking. */
function Ask({ question, node, onClose }: { question: Question; node: string; onClose: () => void }) {
  const client = useQueryClient();
  const [recipe, change] = useRecipe();
  // A lookup has no words for one node.
  const llm = recipe.llm === LOOKUP ? "" : recipe.llm;
  const asked: NodeExplainRequest = { ...question, node, llm: llm.trim(), budget: null, seed: 0 };
  const plan = useMutation({ mutationFn: (wanted: NodeExplainRequest) => api.planNode(wanted) });
  const explain = useMutation({
    mutationFn: (wanted: NodeExplainRequest) => api.explainNode(wanted),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: [EXPLAINED] });
      onClose();
    },
  });
  const planned = plan.data && plan.variables.llm === asked.llm ? plan.data : null;
  const busy = plan.isPending || explain.isPending;
  const why =
    llm.trim() === "" ? "Name a language model: token statistics have no words for one node." : null;
  return (
    <form
      aria-label="Explain in this prompt"
      className="flex flex-wrap items-center gap-x-3 gap-y-1.5"
      onSubmit={(event) => {
        event.preventDefault();
        if (why !== null || busy) return;
        if (planned) explain.mutate(asked);
        else plan.mutate(asked);
      }}
    >
      <LLMField
        label="words by"
        title="What reads the node’s effects and what it read, and says what it does here"
        value={llm}
        lookup={false}
        disabled={busy}
        onChange={(reference) => change({ llm: reference })}
      />
      <Button
        type="submit"
        look={why === null ? "strong" : "plain"}
        disabled={why !== null || busy}
        title={why ?? (planned ? "Asks it" : "Counts what it takes; asks nothing yet")}
      >
        {explain.isPending
          ? "Asking…"
          : plan.isPending
            ? "Counting…"
            : planned
              ? `Explain, for at most ${short(tokensOf(planned))} tokens`
              : "What would it cost?"}
      </Button>
      <Button look="bare" onClick={onClose}>
        Close
      </Button>
      <p role="status" className="text-ink-2">
        {why ?? (planned && `It takes ${costText(planned)}.`)}
      </p>
      {(plan.error ?? explain.error) && (
        <Notice error={(plan.error ?? explain.error) as Error} className="basis-full" />
      )}
    </form>
  );
}
