import { type RefObject, useCallback, useEffect, useMemo, useState } from "react";
import type { OnPrompt } from "../../api/types";
import { activationTint } from "../../colour/scale";
import { useAsked } from "../../components/asked";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { placeOf, Strip } from "../../components/Strip";
import { Tick } from "../../components/Tick";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { useDraft } from "../../components/useDraft";
import { percent, signed } from "../../format/number";
import type { ComponentView, Direction } from "../../url/componentView";
import type { ComponentKind } from "../../url/ids";
import { HeadOnPrompt } from "./HeadOnPrompt";
import { Legend } from "./Legend";
import { strongestAt } from "./strongest";

/** The user's own text with what the component does on each of its tokens; the text is edited in place. */
export function OnPromptPanel({
  id,
  kind,
  answer,
  stale,
  working,
  error,
  max,
  skip,
  direction,
  startToken,
  limit,
  area,
  onRetry,
  onChange,
}: {
  id: string;
  kind: ComponentKind;
  answer: OnPrompt | undefined;
  /** Whether the answer is that to the prompt before, or about the component before. */
  stale: boolean;
  working: boolean;
  error: Error | null;
  /** The largest activation in the atlas; 0 without one. */
  max: number;
  /** Tokens at the beginning that say nothing of the text. */
  skip: number;
  direction: Direction;
  startToken: string | null;
  limit: number | undefined;
  area: RefObject<HTMLTextAreaElement | null>;
  onRetry: () => void;
  onChange: (change: Partial<ComponentView>, how?: "push" | "replace") => void;
}) {
  const asked = useAsked();
  const [draft, setDraft] = useDraft(asked?.prompt ?? "", (prompt) => onChange({ prompt }, "replace"));
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useEffect(() => {
    if (!area.current) return;
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(area.current.scrollHeight + 2, 160)}px`;
  }, [draft]);
  const behind = stale || draft !== asked?.prompt;
  return (
    <Panel
      title="On your prompt"
      className="order-0"
      actions={
        startToken !== null && (
          <Tick
            label="start token"
            title={`Puts ${startToken} before the prompt`}
            checked={asked?.bos ?? false}
            onChange={(checked) => onChange({ prompt: draft, bos: checked }, "replace")}
            className="ml-auto"
          />
        )
      }
    >
      <div className="relative h-0.5 overflow-hidden">
        {working && <div className="working absolute inset-0" />}
      </div>
      <div className="flex flex-col gap-2.5 px-3 pt-1 pb-3">
        <textarea
          ref={area}
          aria-label="Prompt"
          rows={1}
          value={draft}
          spellCheck={false}
          maxLength={limit}
          placeholder="Type a text, and see what this component does on it"
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
          className="w-full resize-none rounded border border-line-strong bg-page px-2 py-1.5 font-mono text-xs"
        />
        {error ? (
          <Notice error={error} onRetry={onRetry} />
        ) : draft === "" ? (
          <p className="text-xs text-ink-2">An empty prompt has no tokens. Type some text.</p>
        ) : answer === undefined ? (
          <div role="status" className={`skeleton ${kind === "attn" ? "h-[341px]" : "h-[42px]"}`}>
            <span className="sr-only">Reading the prompt</span>
          </div>
        ) : (
          <div
            className={behind ? "stale" : ""}
            data-testid="on-prompt"
            data-ready={!behind && answer.id === id}
          >
            {kind === "attn" ? (
              <HeadOnPrompt
                key={answer.tokens.length}
                answer={answer}
                direction={direction}
                onDirection={(next) => onChange({ direction: next }, "replace")}
              />
            ) : (
              <NeuronOnPrompt answer={answer} max={max} skip={skip} />
            )}
          </div>
        )}
      </div>
    </Panel>
  );
}

function NeuronOnPrompt({ answer, max, skip }: { answer: OnPrompt; max: number; skip: number }) {
  const { tokens, activations } = answer;
  const [tip, setTip] = useState<{ i: number; anchor: DOMRect } | null>(null);
  const peak = strongestAt(activations, skip) ?? 0;
  const scale = Math.max(max, Math.abs(activations[peak] ?? 0));
  const background = useCallback(
    (i: number) => activationTint(activations[i] ?? 0, scale),
    [activations, scale],
  );
  const texts = useMemo(() => tokens.map(({ text }) => text), [tokens]);
  return (
    <div className="flex flex-col gap-2">
      <div
        className="max-h-56 overflow-y-auto"
        data-testid="prompt-tokens"
        onPointerMove={(event) => setTip(placeOf(event))}
        onPointerLeave={() => setTip(null)}
      >
        <Strip tokens={texts} background={background} marked={peak} />
      </div>
      <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-1 text-xs text-ink-2">
        <p>
          Strongest at <TokenText text={texts[peak] ?? ""} className="text-ink" />:{" "}
          <span className="num text-ink">{signed(activations[peak])}</span>
          {answer.z && (
            <>
              , z <span className="num text-ink">{signed(answer.z[peak])}</span>
            </>
          )}
          {answer.below && (
            <>
              , above <span className="num text-ink">{percent(answer.below[peak] ?? 0)}</span> of the atlas’s
              tokens
            </>
          )}
        </p>
        <Legend
          kind="neuron"
          negative={activations.some((value) => value < 0)}
          max={scale}
          ofAtlas={scale === max}
        />
      </div>
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts rows={tokenFacts(answer, tip.i)} />
        </Tip>
      )}
    </div>
  );
}

/** What is known of one token of the prompt. */
function tokenFacts({ tokens, activations, z, below }: OnPrompt, i: number) {
  return [
    [`token ${i}`, <TokenText key="token" text={tokens[i]?.text ?? ""} />],
    ["activation", signed(activations[i])],
    ...(z ? [["z", signed(z[i])] as const] : []),
    ...(below ? [["atlas tokens below it", percent(below[i] ?? 0)] as const] : []),
  ] as const;
}
