import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { api } from "../../api/client";
import type { ExplainRequest, Method, ScorerName } from "../../api/types";
import { Button } from "../../components/Button";
import { Command } from "../../components/Command";
import { Notice } from "../../components/Notice";
import { Tick } from "../../components/Tick";
import { count, short } from "../../format/number";
import { MEANING, SCORERS } from "../../format/score";
import { useChosen } from "../../url/useChosen";
import { INPUT } from "../sae/Field";
import { useExplaining } from "./Explaining";
import { LLMField } from "./LLMField";
import { asksNothing, costText, LOOKUP, METHODS, requestOf, toCommand, tokensOf, VARIANTS } from "./request";
import { useRecipe } from "./useRecipe";

const SHOWN: Record<(typeof VARIANTS)[number], string> = {
  examples: "Examples, with the activation of each token",
  tokens: "A list of the tokens it fires on most",
  contrast: "Examples beside near misses: similar texts on which it does not fire",
};

/** How some components are explained: by whom, scored by what, at what cost. The cost is told before it is spent. */
export function ExplainForm({
  components,
  model,
  heads,
  refused,
  children,
}: {
  /** Ids and patterns. */
  components: readonly string[];
  model: string;
  /** Whether there are heads among them: pairs are only a head's. */
  heads: boolean;
  /** Why nothing can be explained; null when it can. */
  refused: string | null;
  /** What stands before the rest, such as fields for the components. */
  children?: ReactNode;
}) {
  const [recipe, change] = useRecipe();
  const among = useChosen();
  const { running, begin } = useExplaining();
  const [more, setMore] = useState(false);
  const plan = useMutation({ mutationFn: (asked: ExplainRequest) => api.planExplaining(asked) });
  const scorers = SCORERS.filter((name) => name !== "pairs" || heads);
  const found = requestOf(
    { ...recipe, scorers: recipe.scorers.filter((name) => scorers.includes(name as never)) },
    components,
    among,
  );
  const request = "request" in found ? found.request : null;
  const why =
    refused ?? (running ? "Something is being explained already" : "problem" in found ? found.problem : null);
  const free = asksNothing(recipe);
  // A plan is that of one request: another one has another cost.
  const planned =
    plan.data && request && JSON.stringify(plan.variables) === JSON.stringify(request) ? plan.data : null;
  const lookup = recipe.llm.trim() === LOOKUP;
  const tick = <T extends string>(list: readonly T[], name: T, on: boolean): T[] =>
    on ? [...list, name] : list.filter((other) => other !== name);
  return (
    <form
      aria-label="Explain"
      className="flex flex-col gap-2.5 rounded border border-line bg-raised px-3 py-2.5"
      onSubmit={(event) => {
        event.preventDefault();
        if (why !== null || !request) return;
        if (free || planned) begin(request);
        else plan.mutate(request);
      }}
    >
      {children}
      <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
        <LLMField
          label="words by"
          title="What reads the examples and says what the component does"
          value={recipe.llm}
          onChange={(llm) => change({ llm })}
        />
        <fieldset className="flex flex-wrap items-center gap-x-3 gap-y-1">
          <legend className="float-left pr-1 text-xs text-ink-2">scored by</legend>
          {scorers.map((name) => (
            <Tick
              key={name}
              label={name}
              title={MEANING[name].asks}
              checked={recipe.scorers.includes(name)}
              onChange={(on) => change({ scorers: tick<ScorerName>(recipe.scorers, name, on) })}
            />
          ))}
        </fieldset>
        <button
          type="button"
          aria-expanded={more}
          onClick={() => setMore(!more)}
          className="text-xs text-ink-2 underline decoration-line-strong underline-offset-2 hover:text-ink"
        >
          {more ? "fewer settings" : "more settings"}
        </button>
      </div>
      {more && (
        <div className="flex flex-wrap items-center gap-x-5 gap-y-2 border-t border-line pt-2.5">
          <LLMField
            label="simulated and judged by"
            title="What goes by the words alone: it simulates activations and judges texts"
            value={recipe.simulator}
            same="the same"
            onChange={(simulator) => change({ simulator })}
          />
          <label className="flex items-center gap-1.5 text-xs text-ink-2">
            simulating
            <select
              value={recipe.method ?? ""}
              disabled={free}
              title={
                free
                  ? "Without a language model quoted tokens are looked up"
                  : "How activations are simulated"
              }
              onChange={(event) => change({ method: (event.target.value || null) as Method | null })}
              className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink disabled:opacity-50"
            >
              <option value="">the best it can</option>
              {METHODS.map((name) => (
                <option key={name} value={name}>
                  {name.replaceAll("_", " ")}
                </option>
              ))}
            </select>
          </label>
          <fieldset className="flex flex-wrap items-center gap-x-3 gap-y-1" disabled={lookup}>
            <legend className="float-left pr-1 text-xs text-ink-2">shown</legend>
            {VARIANTS.map((name) => (
              <Tick
                key={name}
                label={name}
                title={lookup ? "Token statistics have one way to find words" : SHOWN[name]}
                checked={lookup ? name === "tokens" : recipe.variants.includes(name)}
                disabled={lookup}
                onChange={(on) => change({ variants: tick(recipe.variants, name, on) })}
              />
            ))}
          </fieldset>
          <Count
            label="candidates of each"
            title="The one with the best score on validation texts is chosen"
            value={recipe.candidates}
            disabled={lookup}
            onChange={(candidates) => change({ candidates })}
          />
          <Count
            label="revisions"
            title="Times that the chosen one is tested on texts that the language model proposes, and revised"
            value={recipe.revisions}
            disabled={lookup}
            onChange={(revisions) => change({ revisions })}
          />
          <Count
            label="budget in tokens"
            title="After so many nothing more is asked; what was answered is kept"
            value={recipe.budget}
            placeholder="none"
            wide
            disabled={free}
            onChange={(budget) => change({ budget })}
          />
          <Tick
            label="again where it is done"
            title="Explains also what is explained in this way already; known answers of language models are not paid for twice"
            checked={recipe.redo}
            onChange={(redo) => change({ redo })}
          />
        </div>
      )}
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
        <Button
          type="submit"
          look={why === null ? "strong" : "plain"}
          disabled={why !== null || plan.isPending}
          title={
            why ??
            (free || planned
              ? "It can be cancelled; what is done is kept"
              : "Counts what it takes; asks nothing yet")
          }
        >
          {free
            ? "Explain now"
            : planned
              ? `Explain, for at most ${short(tokensOf(planned))} tokens`
              : plan.isPending
                ? "Counting…"
                : "What would it cost?"}
        </Button>
        <p role="status" className="text-xs text-ink-2" data-testid="plan">
          {why !== null && !running
            ? why
            : free
              ? "Nothing is asked of a language model."
              : planned &&
                `${count(planned.components)} component${planned.components === 1 ? "" : "s"}${planned.done > 0 ? `, ${count(planned.done)} of them done already` : ""}: ${costText(planned)}.`}
        </p>
      </div>
      {plan.error && <Notice error={plan.error} />}
      {request && <Command text={toCommand(model, request)} />}
    </form>
  );
}

function Count({
  label,
  title,
  value,
  placeholder,
  wide = false,
  disabled,
  onChange,
}: {
  label: string;
  title: string;
  value: string;
  placeholder?: string;
  wide?: boolean;
  disabled: boolean;
  onChange: (text: string) => void;
}) {
  return (
    <label className="flex items-center gap-1.5 text-xs text-ink-2 has-disabled:opacity-50" title={title}>
      {label}
      <input
        value={value}
        placeholder={placeholder}
        inputMode="numeric"
        disabled={disabled}
        onChange={(event) => onChange(event.target.value)}
        className={`${INPUT} num text-right ${wide ? "w-20!" : "w-12!"}`}
      />
    </label>
  );
}
