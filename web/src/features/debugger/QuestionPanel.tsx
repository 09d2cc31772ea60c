import { useEffect, useRef, useState } from "react";
import { useTokens } from "../../api/queries";
import type { Question, Status, TokenEffect } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { Tick } from "../../components/Tick";
import type { StripName, View } from "../../url/view";
import { placeOf } from "./failures";
import type { Shown } from "./queries";
import { TokenField } from "./TokenField";
import { TokenStrip } from "./TokenStrip";

const STRIP_CHOICES = [
  { value: "attn_to", label: "read", title: "Estimated effect of all attention that reads this token" },
  { value: "attn_from", label: "heads", title: "Estimated effect of all heads that write at this token" },
  { value: "mlp", label: "MLP", title: "Estimated effect of all neurons that write at this token" },
  { value: "embed", label: "embed", title: "Estimated effect of this token's embedding" },
] as const;

/** The prompt, the two sides of the direction, and where to look. */
export function QuestionPanel({
  question,
  fromExample,
  shown,
  stale,
  working,
  error,
  strip,
  limits,
  startToken,
  onAsk,
  onStrip,
  onRetry,
}: {
  question: Question | null;
  /** Whether the question is the one the page opens with. */
  fromExample: boolean;
  shown: Shown | null;
  stale: boolean;
  working: boolean;
  error: Error | null;
  strip: StripName;
  limits: Status["limits"] | undefined;
  startToken: string | null;
  onAsk: (change: Partial<View>) => void;
  onStrip: (strip: StripName) => void;
  onRetry: () => void;
}) {
  const asked = question?.prompt ?? "";
  const bos = question?.bos ?? false;
  const [draft, setDraft] = useState(asked);
  const [known, setKnown] = useState(asked);
  if (asked !== known) {
    // Another question came from outside: the example, Back, or a link.
    setKnown(asked);
    setDraft(asked);
  }
  const area = useRef<HTMLTextAreaElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useEffect(() => {
    if (!area.current) return;
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(area.current.scrollHeight + 2, 220)}px`;
  }, [draft]);

  const changed = draft !== asked;
  const typed = useTokens(draft, bos, draft !== "" && (changed || shown === null));
  const answered =
    !changed && shown !== null && shown.question.prompt === asked && shown.question.bos === bos;
  const tokens = answered ? shown.answer.tokens : draft === "" ? [] : (typed.data?.tokens ?? []);
  const at = answered && !stale ? shown.answer.direction.position : (question?.position ?? tokens.length - 1);
  const effects = answered
    ? shown.answer.by_token.map((token: TokenEffect) => token[strip as keyof TokenEffect] as number)
    : null;

  // A question that is spelled out whole, so that changing one part never falls back to the example for the rest.
  const spelled = (part: Partial<View>): Partial<View> => ({
    prompt: asked,
    targets: question?.targets ?? [],
    distractors: question?.distractors ?? [],
    ...part,
  });
  // Tokens the user chose are kept for an edited prompt; those of the example were nobody's choice.
  const explain = (at: number | null = null) =>
    onAsk(spelled({ prompt: draft, at, ...(fromExample ? { targets: [], distractors: [] } : {}) }));
  const candidates = shown?.answer.candidates ?? [];
  const place = placeOf(error, question);
  const notice = error && <Notice error={error} onRetry={onRetry} />;
  const overLength = limits !== undefined && draft.length > limits.max_prompt_chars;

  return (
    <Panel
      title="Question"
      actions={
        startToken !== null && (
          <Tick
            label="start token"
            title={`Puts ${startToken} before the prompt`}
            checked={bos}
            onChange={(checked) => onAsk(spelled({ bos: checked, at: null }))}
            className="ml-auto"
          />
        )
      }
    >
      <div className="relative h-0.5 overflow-hidden">
        {working && <div className="working absolute inset-0" />}
      </div>
      <div className="flex flex-col gap-2.5 px-3 pt-1 pb-3">
        <div>
          <label htmlFor="prompt" className="mb-0.5 block text-xs text-ink-2">
            Prompt
          </label>
          <textarea
            ref={area}
            id="prompt"
            rows={2}
            value={draft}
            spellCheck={false}
            placeholder="Type what the model should continue"
            onChange={(event) => setDraft(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
                event.preventDefault();
                explain();
              } else if (event.key === "Escape") event.currentTarget.blur();
            }}
            className="block w-full resize-none rounded border border-line-strong bg-page px-2 py-1.5 text-sm"
          />
          <div className="mt-1 flex items-center gap-2">
            <span className="text-2xs text-ink-3">Enter explains, Shift+Enter is a new line</span>
            <Button
              look={changed ? "strong" : "plain"}
              className="ml-auto"
              disabled={!changed || draft === "" || overLength}
              title={
                draft === ""
                  ? "Type a prompt first"
                  : overLength
                    ? `The prompt is longer than ${limits?.max_prompt_chars} characters`
                    : changed
                      ? "Explain this prompt"
                      : "This prompt is the one explained"
              }
              onClick={() => explain()}
            >
              Explain
            </Button>
          </div>
        </div>
        {/ $/.test(draft) && (
          <p className="text-xs text-ink-2">
            The prompt ends with a space: the model’s next token would then be a word without its own.
          </p>
        )}
        {place === "prompt" && notice}
        <div>
          <div className="mb-1 flex flex-wrap items-center justify-between gap-x-2 gap-y-1">
            <span className="text-xs text-ink-2">
              {tokens.length} token{tokens.length === 1 ? "" : "s"}
              {changed ? " as typed" : ""}
            </span>
            <Segmented
              label="Colour tokens by effect of"
              value={strip}
              choices={STRIP_CHOICES}
              onChange={onStrip}
            />
          </div>
          {typed.error && changed ? (
            <Notice error={typed.error} />
          ) : (
            <TokenStrip
              tokens={tokens}
              at={at}
              effects={effects}
              onPick={(position) =>
                changed
                  ? explain(position)
                  : onAsk(
                      spelled({
                        at: position === tokens.length - 1 ? null : position,
                        targets: [],
                        distractors: [],
                      }),
                    )
              }
            />
          )}
        </div>
        {place === "tokens" && notice}
        <div className="grid grid-cols-[minmax(0,1fr)_auto_minmax(0,1fr)] gap-1.5">
          <TokenField
            label="Target"
            tone="toward"
            texts={question?.targets ?? []}
            candidates={candidates}
            placeholder="top prediction"
            maxLength={limits?.max_token_chars ?? 200}
            onChange={(targets) => onAsk(spelled({ targets }))}
          />
          <Button
            look="bare"
            icon="swap"
            className="mt-[21px] rotate-90"
            aria-label="Swap target and distractor"
            title={
              question?.distractors.length
                ? "Swap target and distractor"
                : "There is no distractor to swap with"
            }
            disabled={!question?.distractors.length}
            onClick={() =>
              onAsk(spelled({ targets: question?.distractors ?? [], distractors: question?.targets ?? [] }))
            }
          />
          <TokenField
            label="Distractor"
            tone="against"
            texts={question?.distractors ?? []}
            candidates={candidates}
            placeholder="the mean logit"
            maxLength={limits?.max_token_chars ?? 200}
            onChange={(distractors) => onAsk(spelled({ distractors }))}
          />
        </div>
        {place === "direction" && notice}
      </div>
    </Panel>
  );
}
