import { useMemo, useState } from "react";
import { useScoredTexts } from "../../api/explanations";
import type { Score, ScoredText } from "../../api/types";
import { activationTint } from "../../colour/scale";
import { Notice } from "../../components/Notice";
import { Segmented } from "../../components/Segmented";
import { placeOf } from "../../components/Strip";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { amount, signed } from "../../format/number";
import type { TextsShown } from "../../url/componentView";
import { correlation, KIND_NAMES, KINDS, textsShown } from "./texts";

/** Activations are told from 0 to this, of the component's maximum over the examples that the explainer saw. */
const SCALE = 10;

/** The texts of a scoring: what the component does above, what the words say it would do below. */
export function ScoredTexts({
  score,
  shown,
  onShow,
}: {
  score: Score;
  shown: TextsShown;
  onShow: (shown: TextsShown) => void;
}) {
  const found = useScoredTexts(shown === "none" ? null : score.id);
  const [tip, setTip] = useState<{ text: ScoredText; i: number; anchor: DOMRect } | null>(null);
  const texts = found.data;
  const listed = useMemo(() => textsShown(texts ?? [], shown), [texts, shown]);
  const number = (kind: string) => texts?.filter((text) => text.kind === kind).length ?? null;
  return (
    <section aria-label="Real against simulated activations" data-testid="scored-texts">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <h3 className="text-xs text-ink-2">Real against simulated</h3>
        <Segmented<TextsShown>
          label="Texts of the scoring"
          value={shown}
          onChange={onShow}
          choices={[
            { value: "none", label: "Hide", title: "Only the numbers" },
            { value: "all", label: "All", title: "Every text that was scored" },
            ...KINDS.map((value) => ({
              value,
              title: KIND_TITLES[value],
              label: (
                <>
                  {KIND_NAMES[value]}
                  {texts && <span className="num pl-1 text-2xs text-ink-3">{number(value)}</span>}
                </>
              ),
            })),
          ]}
        />
        {shown !== "none" && (
          <p className="flex flex-wrap items-center gap-x-3 text-2xs text-ink-3">
            <span>above: real</span>
            <span>below: simulated from the words</span>
            <span className="flex items-center gap-1">
              <span className="size-2 rounded-[2px] bg-active" /> full at its maximum
            </span>
          </p>
        )}
      </div>
      {found.error && <Notice error={found.error} onRetry={() => found.refetch()} className="mt-1.5" />}
      {shown !== "none" && !texts && !found.error && (
        <div role="status" className="skeleton mt-1.5 h-40">
          <span className="sr-only">Reading the texts</span>
        </div>
      )}
      {texts && shown !== "none" && (
        <ol
          className="mt-1.5 flex max-h-[28rem] flex-col overflow-y-auto rounded border border-line"
          onPointerLeave={() => setTip(null)}
        >
          {listed.length === 0 && (
            <li className="px-3 py-4 text-center text-xs text-ink-2">
              {texts.length === 0 ? "This scorer simulates nothing." : "No text of this kind was scored."}
            </li>
          )}
          {listed.map((text) => (
            <li
              key={`${text.context} ${text.start} ${text.kind}`}
              data-text={text.kind}
              className="flex flex-col gap-1 border-b border-line px-2.5 py-1.5 last:border-b-0"
              onPointerMove={(event) => {
                const place = placeOf(event);
                setTip(place && { ...place, text });
              }}
            >
              <p className="num flex gap-3 text-2xs text-ink-3">
                <span>{KIND_NAMES[text.kind]}</span>
                <span title="Where it was cut out of the atlas">
                  context {text.context}, from token {text.start}
                </span>
                {text.simulated && (
                  <span className="ml-auto" title="Correlation of the two lines on this text alone">
                    correlation {signed(correlation(text.real, text.simulated))}
                  </span>
                )}
              </p>
              <TwoLines text={text} />
              {text.failure && (
                <p className="text-2xs text-bad" data-testid="failed-text">
                  Not simulated, and in no number: {text.failure.kind}, {text.failure.message}
                </p>
              )}
            </li>
          ))}
        </ol>
      )}
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              ["token", <TokenText key="token" text={tip.text.tokens[tip.i] ?? ""} />],
              ["real", `${amount(tip.text.real[tip.i])} of ${SCALE}`],
              [
                "simulated",
                tip.text.simulated ? `${amount(tip.text.simulated[tip.i])} of ${SCALE}` : "failed",
              ],
            ]}
          />
        </Tip>
      )}
    </section>
  );
}

const KIND_TITLES: Record<(typeof KINDS)[number], string> = {
  top: "Texts on which it fires most",
  random: "Texts drawn at random",
  near_miss: "Texts on which similar components fire, and it does not",
};

/** A text twice, token under token: on its real activations, and on the simulated ones. */
function TwoLines({ text: { tokens, real, simulated } }: { text: ScoredText }) {
  return (
    <div className="flex flex-wrap gap-y-1 text-xs">
      {tokens.map((token, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a token is its place
        <span key={i} data-i={i} className="flex max-w-full flex-col">
          <span
            className="overflow-hidden rounded-t-[2px] text-ellipsis"
            style={{ background: activationTint(real[i] ?? 0, SCALE) }}
          >
            <TokenText text={token} />
          </span>
          <span
            className={`h-2 border-t border-page ${simulated ? "bg-raised" : ""}`}
            style={
              simulated
                ? { backgroundImage: layer(activationTint(simulated[i] ?? 0, SCALE)) }
                : { background: FAILED }
            }
          />
        </span>
      ))}
    </div>
  );
}

/** What stands where nothing was simulated: no shade of emerald, not even none. */
const FAILED = "repeating-linear-gradient(135deg, var(--line) 0 2px, transparent 2px 5px)";

function layer(colour: string | undefined): string | undefined {
  return colour && `linear-gradient(${colour}, ${colour})`;
}
