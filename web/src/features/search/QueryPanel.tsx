import { type RefObject, useEffect, useState } from "react";
import { useAutoencoders } from "../../api/autoencoders";
import { useTokens } from "../../api/queries";
import type { Model, Status } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { Tick } from "../../components/Tick";
import { TokenText } from "../../components/TokenText";
import { useDraft } from "../../components/useDraft";
import { percent } from "../../format/number";
import { visible } from "../../format/token";
import { COMPONENT_KINDS, type ComponentKind } from "../../url/ids";
import { type Mode, readLayers, type SearchView, writeLayers } from "../../url/searchView";

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
] as const;
const KIND_NAMES: Record<ComponentKind, string> = {
  attn: "heads",
  neuron: "neurons",
  latent: "latents",
};
const DENSITIES = [0.1, 0.01, 0.001, 0.0001] as const;

type Ask = (part: Partial<SearchView>, how?: "push" | "replace") => void;

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

function Filters({
  view,
  model,
  hasAtlas,
  onAsk,
}: {
  view: SearchView;
  model: Model | undefined;
  hasAtlas: boolean;
  onAsk: Ask;
}) {
  const shelf = useAutoencoders();
  const rows = shelf.data?.filter(({ fits }) => fits) ?? [];
  const given = rows.filter(({ attached }) => attached);
  const among = view.autoencoders ?? given.map(({ name }) => name);
  const noLatents = among.length === 0 ? "No autoencoder is chosen, and latents are an autoencoder’s" : null;
  const spelled = writeLayers(view.layers);
  const [draft, setDraft] = useState(spelled);
  const [known, setKnown] = useState(spelled);
  if (spelled !== known) {
    setKnown(spelled);
    setDraft(spelled);
  }
  const layers = readLayers(draft);
  const beyond = layers?.find((layer) => model !== undefined && layer >= model.n_layers);
  const problem =
    layers === null
      ? "Write layers as numbers and ranges, such as 3, 20-29"
      : beyond !== undefined
        ? `This model has layers 0 to ${(model?.n_layers ?? 1) - 1}`
        : null;
  const takeLayers = () => {
    if (layers === null || problem !== null) return;
    setDraft(writeLayers(layers));
    if (writeLayers(layers) !== spelled) onAsk({ layers });
  };
  return (
    <div className="flex flex-wrap items-center gap-x-4 gap-y-1.5 text-xs text-ink-2">
      <fieldset className="flex items-center gap-1">
        <legend className="sr-only">Kinds</legend>
        {COMPONENT_KINDS.map((kind) => {
          const on = view.kinds.includes(kind);
          const why = kind === "latent" && !on ? noLatents : null;
          return (
            <Button
              key={kind}
              aria-pressed={on}
              className={on ? "border-ink! text-ink!" : ""}
              disabled={why !== null}
              title={why ?? (on ? `Not only ${KIND_NAMES[kind]}` : `Only ${KIND_NAMES[kind]}`)}
              onClick={() => onAsk({ kinds: on ? [] : [kind] })}
            >
              {KIND_NAMES[kind]}
            </Button>
          );
        })}
      </fieldset>
      {(rows.length > 0 || among.length > 0) && (
        <label className="flex items-center gap-1.5" title="Whose latents are among the components">
          latents of
          <select
            aria-label="Latents of"
            value={view.autoencoders === null ? "" : view.autoencoders.join("\n")}
            onChange={(event) => {
              const chosen = event.target.value;
              const autoencoders = chosen === "" ? null : chosen.split("\n");
              // Latents alone are no kind once there are none.
              const kinds = autoencoders === null && given.length === 0 ? without(view.kinds) : view.kinds;
              onAsk({ autoencoders, kinds });
            }}
            className="h-6.5 max-w-56 rounded border border-line bg-panel px-1 text-xs text-ink"
          >
            <option value="">
              {given.length === 0
                ? "none"
                : given.length === 1
                  ? given[0]?.name
                  : `the ${given.length} of this server`}
            </option>
            {view.autoencoders !== null && view.autoencoders.length !== 1 && (
              <option value={view.autoencoders.join("\n")}>
                {view.autoencoders.join(", ") || "none of them"}
              </option>
            )}
            {rows
              .filter(({ name }) => given.length !== 1 || given[0]?.name !== name)
              .map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
          </select>
        </label>
      )}
      <label className="flex items-center gap-1.5">
        layers
        <input
          value={draft}
          placeholder={model ? `0-${model.n_layers - 1}` : "all"}
          aria-label="Layers"
          aria-invalid={problem !== null}
          title={problem ?? "Numbers and ranges, such as 3, 20-29; empty for all"}
          spellCheck={false}
          onChange={(event) => setDraft(event.target.value)}
          onBlur={takeLayers}
          onKeyDown={(event) => {
            if (event.key === "Enter") takeLayers();
            if (event.key === "Escape") {
              setDraft(spelled);
              event.currentTarget.blur();
            }
          }}
          className="h-6.5 w-24 rounded border border-line-strong bg-page px-1.5 text-xs text-ink aria-invalid:border-bad"
        />
      </label>
      <label
        className={`flex items-center gap-1.5 ${hasAtlas ? "" : "opacity-50"}`}
        title={
          hasAtlas
            ? "Leaves out components that are always on: strong is above an eighth of the largest activation"
            : "How often a component fires is known from an atlas, and there is none"
        }
      >
        strong on at most
        <select
          value={view.density ?? ""}
          aria-label="Strong on at most"
          disabled={!hasAtlas}
          onChange={(event) =>
            onAsk({ density: event.target.value === "" ? null : Number(event.target.value) })
          }
          className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink"
        >
          <option value="">any share</option>
          {[...new Set([...DENSITIES, ...(view.density === null ? [] : [view.density])])]
            .sort((one, other) => other - one)
            .map((density) => (
              <option key={density} value={density}>
                {percent(density)} of tokens
              </option>
            ))}
        </select>
      </label>
      {problem !== null && (
        <p role="alert" className="text-bad">
          {problem}.
        </p>
      )}
    </div>
  );
}

function without(kinds: readonly ComponentKind[]): ComponentKind[] {
  return kinds.filter((kind) => kind !== "latent");
}
