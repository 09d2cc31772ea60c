import { useCallback, useMemo, useState } from "react";
import { type PairRows, pointedTones, restingTones, toneBackground } from "../../colour/twoTones";
import { placeOf, Strip } from "../../components/Strip";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { signed } from "../../format/number";
import type { Direction } from "../../url/componentView";

/**
 * A head's text in two colours: at rest what is attended to and from at all; pointed at, what one token attends to or is
 * attended from. A click pins a token until the next click.
 */
export function HeadText({
  tokens,
  activations,
  attended,
  pairs,
  direction,
  marked = null,
  pinned,
  onPin,
  onPoint,
  tips = true,
  arranged,
}: {
  tokens: readonly string[];
  activations: readonly number[];
  attended: readonly number[];
  /** null: not here yet; the text stays at rest. */
  pairs: PairRows | null;
  direction: Direction;
  marked?: number | null;
  pinned: number | null;
  onPin: (i: number | null) => void;
  /** Told which token is pointed at; null: none. */
  onPoint?: (i: number | null) => void;
  /** Whether a token that is pointed at has its numbers beside it. */
  tips?: boolean;
  /** Lays the text out in another way than wrapped. */
  arranged?: (background: (i: number) => string | undefined, marked: number | null) => React.ReactNode;
}) {
  const [tip, setTip] = useState<{ i: number; anchor: DOMRect } | null>(null);
  const at = tip?.i ?? pinned;
  const resting = useMemo(() => restingTones(attended, activations), [attended, activations]);
  const tones = useMemo(
    () =>
      at === null || pairs === null || at >= pairs.length ? resting : pointedTones(pairs, at, direction),
    [resting, pairs, at, direction],
  );
  const background = useCallback(
    (i: number) => {
      const tone = tones[i];
      return tone && toneBackground(tone);
    },
    [tones],
  );
  const point = (place: { i: number; anchor: DOMRect } | null) => {
    if (place?.i === tip?.i) return;
    setTip(place);
    onPoint?.(place?.i ?? null);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: pointing is a shortcut; the same numbers are in the matrix and its keys
    // biome-ignore lint/a11y/useKeyWithClickEvents: as above
    <div
      data-testid="head-text"
      data-at={at ?? undefined}
      onPointerMove={(event) => point(placeOf(event))}
      onPointerLeave={() => point(null)}
      onClick={(event) => {
        const place = placeOf(event);
        if (place) onPin(place.i === pinned ? null : place.i);
      }}
      className="cursor-pointer"
    >
      {arranged ? (
        arranged(background, pinned ?? marked)
      ) : (
        <Strip tokens={tokens} background={background} marked={pinned ?? marked} />
      )}
      {tip && tips && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              [`token ${tip.i}`, <TokenText key="token" text={tokens[tip.i] ?? ""} />],
              ["most it receives", signed(activations[tip.i])],
              ["most it gives", signed(attended[tip.i])],
            ]}
          />
        </Tip>
      )}
    </div>
  );
}
