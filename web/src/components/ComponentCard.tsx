import { useMemo } from "react";
import { useCard } from "../api/atlas";
import { Failure } from "../api/client";
import { useBest } from "../api/explanations";
import type { Card, Example } from "../api/types";
import { activationTint, largest } from "../colour/scale";
import { restingTones, toneBackground } from "../colour/twoTones";
import { percent, signed } from "../format/number";
import { headlineOf } from "../format/score";
import { Strip } from "./Strip";
import { TokenText } from "./TokenText";
import { Trust } from "./Trust";
import { Words } from "./Words";

/** Tokens of the best example shown before and after its strongest one. */
const BEFORE = 9;
const AFTER = 5;
const PUSHED = 6;

/** A component in short: its best words if it has any, its best example, how often and how strongly it fires, what it pushes. */
export function ComponentCard({ id }: { id: string }) {
  const { data, error } = useCard(id);
  const words = useBest(useMemo(() => [id], [id])).get(id);
  return (
    <div data-testid="component-card" className="flex min-h-24 w-84 max-w-full flex-col gap-1.5">
      <p className="flex items-baseline justify-between gap-3">
        <span className="font-mono font-semibold">{id}</span>
        <span className="text-2xs text-ink-3">{inWords(id)}</span>
      </p>
      {words && (
        <div data-testid="card-words">
          <p className="line-clamp-3 text-sm">
            <Words text={words.text} />
          </p>
          <Trust score={headlineOf(words)} className="text-2xs" />
        </div>
      )}
      {error ? (
        <p className="text-bad">
          {error.message} {error instanceof Failure && <span className="text-ink-2">{error.hint}</span>}
        </p>
      ) : data ? (
        <Body card={data} />
      ) : (
        <div role="status" className="skeleton h-16">
          <span className="sr-only">Reading the component</span>
        </div>
      )}
    </div>
  );
}

/** A component's id as a person says it. */
export function inWords(id: string): string {
  const [kind, layer, index, last] = id.split(".");
  if (kind === "latent") return `latent ${last} of ${layer}.${index}`;
  return `${kind === "attn" ? "head" : "neuron"} ${index} of layer ${layer}`;
}

function Body({ card }: { card: Card }) {
  const { example, density, maximum, up } = card;
  const head = example?.attended != null;
  return (
    <>
      {example ? (
        <>
          <BestExample example={example} />
          <p className="flex flex-wrap gap-x-3 text-ink-2">
            <span>
              {head ? "largest write" : "maximum"} <span className="num text-ink">{signed(maximum)}</span>
            </span>
            {density !== null && !head && (
              <span>
                above zero on <span className="num text-ink">{percent(density)}</span> of tokens
              </span>
            )}
          </p>
        </>
      ) : (
        <p className="text-ink-2">
          {maximum === null
            ? "No atlas holds this component: its page says how to collect one, to see examples."
            : "It has no example in the atlas."}
        </p>
      )}
      {up.length > 0 && (
        <p className="flex flex-wrap gap-x-2 gap-y-0.5 overflow-hidden">
          <span className="text-ink-2">pushes</span>
          {up.slice(0, PUSHED).map(({ id: token, text }) => (
            <TokenText key={token} text={text} className="max-w-32 truncate" />
          ))}
        </p>
      )}
    </>
  );
}

function BestExample({ example }: { example: Example }) {
  const { tokens, activations, attended, peak, source } = example;
  const from = Math.max(
    0,
    Math.min(peak, source ?? peak) - (source === null ? BEFORE : 2),
    peak - 3 * BEFORE,
  );
  const to = Math.min(tokens.length, peak + AFTER + 1);
  const tones = attended ? restingTones(attended, activations) : null;
  const max = largest(activations);
  return (
    <Strip
      tokens={tokens.slice(from, to)}
      background={(i) => {
        const tone = tones?.[from + i];
        return tones ? tone && toneBackground(tone) : activationTint(activations[from + i] ?? 0, max);
      }}
      marked={peak - from}
      clipped={{ before: from > 0, after: to < tokens.length }}
    />
  );
}
