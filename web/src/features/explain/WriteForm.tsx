import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api } from "../../api/client";
import { stream } from "../../api/events";
import { EXPLAINED } from "../../api/explanations";
import type { ExplainProgress, ExplainRequest, Explanation, ScoreRequest, ScorerName } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { ProgressBar } from "../../components/ProgressBar";
import { Tick } from "../../components/Tick";
import { useLongWork } from "../../components/useLongWork";
import { count, short } from "../../format/number";
import { MEANING, SCORERS } from "../../format/score";
import { useChosen } from "../../url/useChosen";
import { INPUT } from "../sae/Field";
import { LLMField } from "./LLMField";
import { budgetOf, costText, LOOKUP, requestOf, tokensOf } from "./request";
import { useRecipe } from "./useRecipe";

/** As many letters as the server takes. */
const LONGEST = 2000;
const FIRST: ExplainRequest["variants"] = ["examples"];

/** Where a person writes words for a component, or edits those that are shown, and has them scored on the spot. */
export function WriteForm({
  id,
  head,
  from,
  refused,
  onScored,
  onClose,
}: {
  id: string;
  head: boolean;
  /** The explanation that is edited; null: words of one's own. */
  from: Explanation | null;
  refused: string | null;
  onScored: (explanation: Explanation) => void;
  onClose: () => void;
}) {
  const client = useQueryClient();
  const among = useChosen();
  const [recipe, change] = useRecipe();
  const [text, setText] = useState(from?.text ?? "");
  const { running, progress, error, begin, cancel } = useLongWork<ExplainProgress>();
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => area.current?.focus(), []);
  const judge = recipe.simulator || recipe.llm;
  const scorers = SCORERS.filter((name) => recipe.scorers.includes(name) && (name !== "pairs" || head));
  const budget = budgetOf(recipe.budget);
  const same = from !== null && text.trim() === from.text.trim();
  const why =
    refused ??
    (text.trim() === ""
      ? "Say what the component does."
      : judge.trim() === ""
        ? "Name a language model to judge the words, or take the lookup."
        : scorers.length === 0
          ? "Choose a scorer."
          : budget === undefined
            ? "Give a budget in tokens, such as 200k, or none."
            : null);
  // Whoever judges is asked about the same texts as when it finds words itself: that is the most it can cost.
  const asIfFound = requestOf({ ...recipe, llm: judge, simulator: "", scorers, redo: true }, [id], among);
  const most =
    "request" in asIfFound ? { ...asIfFound.request, variants: FIRST, candidates: 1, revisions: 0 } : null;
  const plan = useMutation({ mutationFn: (asked: ExplainRequest) => api.planExplaining(asked) });
  const planned =
    plan.data && most && JSON.stringify(plan.variables) === JSON.stringify(most) ? plan.data : null;
  const free = judge === LOOKUP;
  const score = () => {
    const asked: ScoreRequest = {
      component: id,
      text: same ? null : text.trim(),
      explanation: same ? (from?.id ?? null) : null,
      author: null,
      parent: same ? null : (from?.id ?? null),
      simulator: judge.trim(),
      method: judge === LOOKUP ? null : recipe.method,
      scorers,
      budget: budget ?? null,
      seed: 0,
      autoencoders: among === null ? null : [...among],
    };
    begin(async (tell, signal) => {
      let scored: Explanation | null = null;
      await stream(
        "/api/explanations/score",
        asked,
        ({ name, data }) => {
          if (name === "done") scored = data.latest;
          tell(data);
        },
        signal,
      );
      await client.invalidateQueries({ queryKey: [EXPLAINED] });
      if (scored) onScored(scored);
    });
  };
  const submit = () => {
    if (why !== null || running || plan.isPending) return;
    if (free || planned) score();
    else if (most) plan.mutate(most);
  };
  return (
    <form
      aria-label="Write words"
      className="flex flex-col gap-2.5 rounded border border-line bg-raised px-3 py-2.5"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <label className="flex flex-col gap-1 text-xs text-ink-2">
        {from ? `Edit explanation ${from.id}; what is written is kept beside it` : "What the component does"}
        <textarea
          ref={area}
          aria-label="Words"
          rows={2}
          value={text}
          maxLength={LONGEST}
          placeholder={
            judge === LOOKUP
              ? 'Such as: fires on " store" (10) and " shop" (7), on any token after " the" (4)'
              : "Such as: names of shops, mostly after “the”"
          }
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape") onClose();
            if (event.key === "Enter" && (event.metaKey || event.ctrlKey) && why === null && !running)
              score();
          }}
          className="field-sizing-content max-h-60 min-h-12 w-full resize-y rounded border border-line-strong bg-page px-2 py-1.5 text-sm text-ink"
        />
      </label>
      {free && (
        <p className="text-2xs text-ink-3">
          Without a language model the tokens are read that the words quote, each with a level from 0 to 10:{" "}
          <code className="font-mono">" store" (10), any token after " the" (4), elsewhere about 0.3</code>.
        </p>
      )}
      <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
        <LLMField
          label="judged by"
          title="What goes by the words alone: it simulates activations and judges texts"
          value={judge}
          disabled={running}
          onChange={(simulator) => change({ simulator })}
        />
        <fieldset className="flex flex-wrap items-center gap-x-3 gap-y-1" disabled={running}>
          <legend className="float-left pr-1 text-xs text-ink-2">scored by</legend>
          {SCORERS.filter((name) => name !== "pairs" || head).map((name) => (
            <Tick
              key={name}
              label={name}
              title={MEANING[name].asks}
              checked={recipe.scorers.includes(name)}
              onChange={(on) =>
                change({
                  scorers: on
                    ? [...recipe.scorers, name as ScorerName]
                    : recipe.scorers.filter((other) => other !== name),
                })
              }
            />
          ))}
        </fieldset>
        {!free && (
          <label
            className="flex items-center gap-1.5 text-xs text-ink-2"
            title="After so many nothing more is asked; what was answered is kept"
          >
            budget in tokens
            <input
              value={recipe.budget}
              placeholder="none"
              inputMode="numeric"
              onChange={(event) => change({ budget: event.target.value })}
              className={`${INPUT} num w-20! text-right`}
            />
          </label>
        )}
      </div>
      {running ? (
        <>
          <ProgressBar
            label="Scoring"
            done={progress?.stage === "explain" ? progress.done : null}
            total={progress?.total ?? 1}
          />
          <div className="flex min-h-6.5 items-center justify-between gap-3">
            <p className="num text-xs text-ink-2" data-testid="scoring">
              {progress === null
                ? "Waiting for the model…"
                : `${count(progress.done)} of ${count(progress.total)} scorers${progress.spent.requests > 0 ? `, ${short(progress.spent.prompt_tokens + progress.spent.completion_tokens)} tokens` : ""}`}
            </p>
            <Button
              icon="cross"
              onClick={cancel}
              title="What was answered is kept, and asked for no second time"
            >
              Cancel
            </Button>
          </div>
        </>
      ) : (
        <div className="flex flex-wrap items-center gap-2">
          <Button
            type="submit"
            look={why === null ? "strong" : "plain"}
            disabled={why !== null || plan.isPending}
            title={why ?? "On the same texts that every explanation of it is scored on (Ctrl+Enter)"}
          >
            {free
              ? same
                ? "Score again"
                : "Score"
              : planned
                ? `Score, for at most ${short(tokensOf(planned))} tokens`
                : plan.isPending
                  ? "Counting…"
                  : "What would it cost?"}
          </Button>
          <Button look="bare" onClick={onClose}>
            Close
          </Button>
          <p role="status" className="text-xs text-ink-2">
            {why ??
              (free
                ? "Nothing is asked of a language model."
                : planned && `With finding words counted too: ${costText(planned)}.`)}
          </p>
        </div>
      )}
      {(error ?? plan.error) && <Notice error={(error ?? plan.error) as Error} />}
    </form>
  );
}
