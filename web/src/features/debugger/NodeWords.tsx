import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client";
import { EXPLAINED } from "../../api/explanations";
import type { Explanation, NodeExplainRequest, Question } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Trust } from "../../components/Trust";
import { Words } from "../../components/Words";
import { short } from "../../format/number";
import { headlineOf, writtenText } from "../../format/score";
import { LLMField } from "../explain/LLMField";
import { costText, LOOKUP, tokensOf } from "../explain/request";
import { useRecipe } from "../explain/useRecipe";
import { citedParts } from "./cited";

/** What a node's component does in general, in words, and what the node does in this prompt, if one has it told. */
export function NodeWords({
  question,
  node,
  words,
  onRow,
}: {
  question: Question;
  node: string;
  words: Explanation | undefined;
  onRow: (id: string) => void;
}) {
  const [asking, setAsking] = useState(false);
  const known = useQuery<Explanation | null>({
    queryKey: [EXPLAINED, "node", question, node],
    // Only what was asked for on this page: nothing is asked by looking.
    queryFn: () => null,
    enabled: false,
  });
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
      {known.data && <Told told={known.data} onRow={onRow} />}
      {asking ? (
        <Ask question={question} node={node} onClose={() => setAsking(false)} />
      ) : (
        <div>
          <Button
            title="A language model says in words what it does here, from what was measured; the cost is told first"
            onClick={() => setAsking(true)}
          >
            {known.data ? "Explain again…" : "Explain in this prompt…"}
          </Button>
        </div>
      )}
    </div>
  );
}

/** An explanation in one prompt; the rows it cites lead to the nodes of the table. */
function Told({ told, onRow }: { told: Explanation; onRow: (id: string) => void }) {
  return (
    <div data-testid="node-explanation">
      <p className="flex flex-wrap items-baseline gap-x-3">
        <span className="text-ink-2">In this prompt</span>
        <span className="text-sm">
          {citedParts(told.text, told.cited).map((part, i) =>
            part.node === null ? (
              // biome-ignore lint/suspicious/noArrayIndexKey: a part is its place
              <Words key={i} text={part.text} />
            ) : (
              <button
                // biome-ignore lint/suspicious/noArrayIndexKey: a part is its place
                key={i}
                type="button"
                title={`${part.node}: go to its row`}
                onClick={() => onRow(part.node as string)}
                className="font-mono text-2xs text-ink-2 underline decoration-line-strong underline-offset-2 hover:text-ink"
              >
                {part.text}
              </button>
            ),
          )}
        </span>
      </p>
      <p className="flex flex-wrap gap-x-3 text-2xs text-ink-3">
        <span>{told.llm}</span>
        <span>not scored: it speaks of this prompt alone, so go by the rows that it cites</span>
        {told.cited.map((node) => (
          <button
            key={node}
            type="button"
            onClick={() => onRow(node)}
            className="font-mono underline decoration-line-strong underline-offset-2 hover:text-ink"
          >
            {node.replace("<-", "←")}
          </button>
        ))}
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
    onSuccess: (told) => {
      client.setQueryData([EXPLAINED, "node", question, node], told);
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
