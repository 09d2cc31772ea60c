import { useState } from "react";
import { useAutoencoders } from "../../api/autoencoders";
import { useSources } from "../../api/explanations";
import type { Model } from "../../api/types";
import { Button } from "../../components/Button";
import { percent, signed } from "../../format/number";
import { COMPONENT_KINDS, type ComponentKind } from "../../url/ids";
import { readLayers, type SearchView, writeLayers } from "../../url/searchView";

const KIND_NAMES: Record<ComponentKind, string> = {
  attn: "heads",
  neuron: "neurons",
  latent: "latents",
};
const SCORES = [0, 0.2, 0.4, 0.6, 0.8] as const;
const DENSITIES = [0.1, 0.01, 0.001, 0.0001] as const;

export type Ask = (part: Partial<SearchView>, how?: "push" | "replace") => void;

/** Among which components a search looks. */
export function Filters({
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
      {view.mode === "words" ? (
        <OfWords view={view} onAsk={onAsk} />
      ) : (
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
      )}
      {problem !== null && (
        <p role="alert" className="text-bad">
          {problem}.
        </p>
      )}
    </div>
  );
}

/** Whose words, and how well they have to score. */
function OfWords({ view, onAsk }: { view: SearchView; onAsk: Ask }) {
  const sources = useSources();
  const [near, setNear] = useState(view.near ?? "");
  const takeNear = () => {
    const named = near.trim() || null;
    if (named !== view.near) onAsk({ near: named });
  };
  const explainers = [...new Set((sources.data ?? []).map(({ llm }) => llm))].sort();
  const scores = [...new Set([...SCORES, ...(view.score === null ? [] : [view.score])])].sort(
    (one, other) => one - other,
  );
  return (
    <>
      <label className="flex items-center gap-1.5">
        words by
        <select
          aria-label="Words by"
          value={view.by ?? ""}
          onChange={(event) => onAsk({ by: event.target.value || null })}
          className="h-6.5 max-w-56 rounded border border-line bg-panel px-1 text-xs text-ink"
        >
          <option value="">anyone</option>
          {[...new Set([...explainers, ...(view.by === null ? [] : [view.by])])].map((llm) => (
            <option key={llm}>{llm}</option>
          ))}
        </select>
      </label>
      <label
        className="flex items-center gap-1.5"
        title="An embedding model finds what is near in meaning, not only the same words: it is sent what you look for, and once each explanation. Enter takes it; empty for none"
      >
        by meaning, with
        <input
          value={near}
          aria-label="Embedding model"
          placeholder="no embedding model"
          spellCheck={false}
          autoCapitalize="off"
          onChange={(event) => setNear(event.target.value)}
          onBlur={takeNear}
          onKeyDown={(event) => event.key === "Enter" && takeNear()}
          className="h-6.5 w-52 rounded border border-line-strong bg-page px-1.5 text-xs text-ink"
        />
      </label>
      <label className="flex items-center gap-1.5" title="Leaves out words that were not scored as well">
        score at least
        <select
          aria-label="Score at least"
          value={view.score ?? ""}
          onChange={(event) =>
            onAsk({ score: event.target.value === "" ? null : Number(event.target.value) })
          }
          className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink"
        >
          <option value="">any</option>
          {scores.map((score) => (
            <option key={score} value={score}>
              {signed(score)}
            </option>
          ))}
        </select>
      </label>
    </>
  );
}

function without(kinds: readonly ComponentKind[]): ComponentKind[] {
  return kinds.filter((kind) => kind !== "latent");
}
