import { type RefObject, useEffect } from "react";
import { useTokens } from "../../api/queries";
import type { Model, Status } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { Tick } from "../../components/Tick";
import { TokenText } from "../../components/TokenText";
import { useDraft } from "../../components/useDraft";
import { visible } from "../../format/token";
import type { Mode, SearchView } from "../../url/searchView";
import { type Ask, Filters } from "./Filters";

const MODES = [
  {
    value: "prompt",
    label: "On a prompt",
    title: "Which components fire on a text, or at one of its tokens",
  },
  { value: "token", label: "On a token", title: "Which components have their top examples on a token" },
  {
    value: "push",
    label: "Pushes a token",
    title: "Which components write an output token, by their weights",
  },
  { value: "words", label: "In words", title: "Which components are said to do something, in words" },
] as const;

/** What is searched for, and among which components. */
export function QueryPanel({
  view,
  example,
  model,
  limits,
  working,
  field,
  hasAtlas,
  onAsk,
}: {
  view: SearchView;
  example: string | undefined;
  model: Model | undefined;
  limits: Status["limits"] | undefined;
  working: boolean;
  field: RefObject<(HTMLTextAreaElement & HTMLInputElement) | null>;
  hasAtlas: boolean;
  onAsk: Ask;
}) {
  return (
    <Panel
      title="Find components"
      actions={
        <Segmented<Mode>
          label="Search"
          value={view.mode}
          choices={MODES}
          onChange={(mode) => onAsk({ mode, sort: null, ascending: false })}
        />
      }
    >
      <div className="relative h-0.5 overflow-hidden">
        {working && <div className="working absolute inset-0" />}
      </div>
      <div className="flex flex-col gap-2.5 px-3 pt-1 pb-3">
        {view.mode === "prompt" ? (
          <PromptField
            view={view}
            example={example ?? ""}
            startToken={model?.bos ?? null}
            limit={limits?.max_prompt_chars}
            field={field}
            onAsk={onAsk}
          />
        ) : view.mode === "words" ? (
          <WordsInput view={view} field={field} onAsk={onAsk} />
        ) : (
          <TokenInput
            key={view.mode}
            view={view}
            limit={limits?.max_token_chars}
            field={field}
            onAsk={onAsk}
          />
        )}
        <Filters view={view} model={model} hasAtlas={hasAtlas} onAsk={onAsk} />
      </div>
    </Panel>
  );
}

function PromptField({
  view,
  example,
  startToken,
  limit,
  field,
  onAsk,
}: {
  view: SearchView;
  example: string;
  startToken: string | null;
  limit: number | undefined;
  field: RefObject<(HTMLTextAreaElement & HTMLInputElement) | null>;
  onAsk: Ask;
}) {
  const asked = view.prompt ?? example;
  const [draft, setDraft] = useDraft(asked, (prompt) => onAsk({ prompt, at: null }, "replace"));
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useEffect(() => {
    if (!field.current) return;
    field.current.style.height = "auto";
    field.current.style.height = `${Math.min(field.current.scrollHeight + 2, 160)}px`;
  }, [draft]);
  const tokens = useTokens(draft, view.bos, draft !== "");
  const listed = draft === "" ? [] : (tokens.data?.tokens ?? []);
  return (
    <>
      <textarea
        ref={field}
        aria-label="Prompt"
        rows={1}
        value={draft}
        spellCheck={false}
        maxLength={limit}
        placeholder="Type a text"
        onChange={(event) => setDraft(event.target.value)}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        className="w-full resize-none rounded border border-line-strong bg-page px-2 py-1.5 font-mono text-xs"
      />
      {tokens.error && draft !== "" ? (
        <Notice error={tokens.error} />
      ) : (
        <fieldset className="flex min-h-6 flex-wrap items-center gap-x-3 gap-y-1.5">
          <legend className="sr-only">At which token</legend>
          <Button
            aria-pressed={view.at === null}
            className={view.at === null ? "border-ink! text-ink!" : ""}
            title="Each component at its own strongest token"
            onClick={() => onAsk({ at: null })}
          >
            anywhere
          </Button>
          <span className="text-xs text-ink-3">or at</span>
          <div
            className="flex max-h-36 min-w-0 flex-wrap gap-x-px gap-y-1 overflow-y-auto p-px"
            data-testid="search-tokens"
          >
            {listed.map(({ position, text }) => (
              <button
                key={position}
                type="button"
                aria-pressed={position === view.at}
                aria-label={`${text}, token ${position}`}
                title={`Token ${position}: which components fire here`}
                onClick={() => onAsk({ prompt: draft, at: position === view.at ? null : position })}
                className={`h-5.5 rounded-[3px] bg-raised px-[3px] text-xs hover:outline-1 hover:outline-line-strong ${
                  position === view.at ? "shadow-[inset_0_0_0_1.5px_var(--ink)]" : ""
                }`}
              >
                <TokenText text={text} />
              </button>
            ))}
          </div>
          {startToken !== null && (
            <Tick
              label="start token"
              title={`Puts ${startToken} before the prompt`}
              checked={view.bos}
              onChange={(checked) => onAsk({ prompt: draft, bos: checked, at: null })}
              className="ml-auto"
            />
          )}
        </fieldset>
      )}
    </>
  );
}

function WordsInput({
  view,
  field,
  onAsk,
}: {
  view: SearchView;
  field: RefObject<(HTMLTextAreaElement & HTMLInputElement) | null>;
  onAsk: Ask;
}) {
  const [draft, setDraft] = useDraft(view.words, (words) => onAsk({ words }, "replace"));
  return (
    <input
      ref={field}
      type="search"
      aria-label="Words"
      value={draft}
      maxLength={2000}
      placeholder="Words that an explanation holds, such as: month names"
      onChange={(event) => setDraft(event.target.value)}
      onKeyDown={(event) => event.key === "Escape" && draft === "" && event.currentTarget.blur()}
      className="h-7 w-full max-w-xl rounded border border-line-strong bg-page px-2 text-xs"
    />
  );
}

function TokenInput({
  view,
  limit,
  field,
  onAsk,
}: {
  view: SearchView;
  limit: number | undefined;
  field: RefObject<(HTMLTextAreaElement & HTMLInputElement) | null>;
  onAsk: Ask;
}) {
  const [draft, setDraft] = useDraft(view.token ?? "", (token) => onAsk({ token: token || null }, "replace"));
  const tokens = useTokens(draft, false, draft !== "");
  const listed = draft === "" ? [] : (tokens.data?.tokens ?? []);
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
      <input
        ref={field}
        aria-label="Token"
        value={draft}
        spellCheck={false}
        autoCapitalize="off"
        autoComplete="off"
        maxLength={limit}
        placeholder="A token, such as “ Mary”"
        onChange={(event) => setDraft(event.target.value)}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        className="h-7 w-64 max-w-full rounded border border-line-strong bg-page px-2 font-mono text-xs"
      />
      {listed.length > 0 && (
        <p className="flex items-center gap-1.5 text-xs text-ink-2">
          {listed.length === 1 ? "token" : `${listed.length} tokens:`}
          {listed.slice(0, 8).map(({ position, text }) => (
            <TokenText key={position} text={text} className="rounded-[3px] bg-raised px-[3px] text-ink" />
          ))}
        </p>
      )}
      {/^[^\s]/.test(draft) && (
        <Button
          title="Most words are tokens with the space before them"
          onClick={() => {
            setDraft(` ${draft}`);
            onAsk({ token: ` ${draft}` });
          }}
        >
          with a space: <span className="font-mono">{visible(` ${draft}`)}</span>
        </Button>
      )}
    </div>
  );
}
