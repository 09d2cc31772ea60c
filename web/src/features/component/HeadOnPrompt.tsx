import { useCallback, useMemo, useRef, useState } from "react";
import type { OnPrompt } from "../../api/types";
import { activationOpacity } from "../../colour/scale";
import { Matrix, type Place } from "../../components/Matrix";
import { Segmented } from "../../components/Segmented";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { useSize } from "../../components/useSize";
import { percent, signed } from "../../format/number";
import { visible } from "../../format/token";
import type { Direction } from "../../url/componentView";
import { HeadText } from "./HeadText";
import { Legend } from "./Legend";
import { type Pair, strongestInto, strongestOutOf, strongestPairs } from "./pairs";

const GUTTER = 68;
const NAMED = 5;

/** A head on the user's prompt: the text in two colours, the strongest pairs, and the whole pattern. */
export function HeadOnPrompt({
  answer,
  direction,
  onDirection,
}: {
  answer: OnPrompt;
  direction: Direction;
  onDirection: (direction: Direction) => void;
}) {
  const { tokens, activations, writes, z, below } = answer;
  const attended = answer.attended ?? NONE;
  const pairs = answer.pairs ?? NO_ROWS;
  const pattern = answer.pattern ?? NO_ROWS;
  const [pinned, setPinned] = useState<number | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const [cell, setCell] = useState<(Place & { anchor: DOMRect }) | null>(null);
  const texts = useMemo(() => tokens.map(({ text }) => text), [tokens]);
  const labels = useMemo(() => texts.map(visible), [texts]);
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const n = tokens.length;
  const size = Math.max(3, Math.min(20, Math.floor((Math.min(width, 460) - GUTTER) / Math.max(1, n))));
  const shade = useCallback(
    (row: number, column: number) =>
      column > row ? null : activationOpacity(pattern[row]?.[column] ?? 0, 1),
    [pattern],
  );
  // A token is pointed at in the text, or as a row of the matrix, which keys reach as well.
  const held = cell?.row ?? pinned;
  const at = pointed ?? held;
  return (
    <div ref={box} className="flex flex-wrap gap-x-6 gap-y-3">
      <div className="flex min-w-0 flex-1 basis-80 flex-col gap-2.5">
        <div className="flex flex-wrap items-center justify-between gap-x-3 gap-y-1.5">
          <Legend kind="attn" />
          <Segmented<Direction>
            label="Pointing at a token shows"
            value={direction}
            onChange={onDirection}
            choices={[
              {
                value: "from",
                label: "who attends to it",
                title: "Pointing at a token colours the tokens that attend to it pink",
              },
              {
                value: "to",
                label: "what it attends to",
                title: "Pointing at a token colours the tokens that it attends to light blue",
              },
            ]}
          />
        </div>
        <div className="max-h-56 overflow-y-auto" data-testid="prompt-tokens">
          <HeadText
            tokens={texts}
            activations={activations}
            attended={attended}
            pairs={pairs}
            direction={direction}
            pinned={held}
            onPin={setPinned}
            onPoint={setPointed}
            tips={false}
          />
        </div>
        {at === null ? (
          <Named
            title="Strongest pairs"
            pairs={strongestPairs(pairs, NAMED)}
            texts={texts}
            empty="no pair on this text"
            both
          />
        ) : (
          <>
            <p className="flex flex-wrap items-baseline gap-x-3 text-xs text-ink-2">
              <span>
                <TokenText text={texts[at] ?? ""} className="text-ink" />
                {pointed === null && cell === null && " (pinned)"}
              </span>
              <span>
                whole write <span className="num text-ink">{signed(writes?.[at])}</span>
              </span>
              {z && (
                <span>
                  z <span className="num text-ink">{signed(z[at])}</span>
                </span>
              )}
              {below && (
                <span>
                  above <span className="num text-ink">{percent(below[at] ?? 0)}</span> of the atlas’s tokens
                </span>
              )}
            </p>
            <Named
              title="Attends to"
              colour="bg-attended"
              pairs={strongestInto(pairs, at, NAMED)}
              texts={texts}
              empty="nothing"
            />
            <Named
              title="Attended from"
              colour="bg-attending"
              pairs={strongestOutOf(pairs, at, NAMED)}
              texts={texts}
              empty="no token after it"
              backward
            />
          </>
        )}
        <p className="text-2xs text-ink-3">
          Numbers are the length of the vector that a token receives from another. Click a token to pin it.
        </p>
      </div>
      <div className="max-w-full" data-testid="prompt-pattern">
        {width > 0 && (
          <Matrix
            rows={n}
            columns={n}
            cellWidth={size}
            cellHeight={size}
            rowLabels={labels}
            columnLabels={labels}
            gutter={GUTTER}
            shade={shade}
            positive="var(--active)"
            negative="var(--active)"
            unmade="none"
            label={`Attention of ${answer.id}. Rows are the tokens that attend, columns those attended to. Arrow keys move, Enter pins the row's token.`}
            start={{ row: n - 1, column: n - 1 }}
            chosen={null}
            marked={cell ?? { row: at, column: at }}
            onHover={(place) => setCell(place && place.column <= place.row ? place : null)}
            onPick={(place) => setPinned(place.row === pinned ? null : place.row)}
          />
        )}
        <p className="text-2xs text-ink-3">
          Attention weights. Row: the token that attends. Column: attended to.
        </p>
      </div>
      {cell && (
        <Tip anchor={cell.anchor}>
          <Facts
            rows={[
              [`token ${cell.row}`, <TokenText key="row" text={texts[cell.row] ?? ""} />],
              [`attends to ${cell.column}`, <TokenText key="column" text={texts[cell.column] ?? ""} />],
              ["weight", signed(pattern[cell.row]?.[cell.column])],
              ["receives", signed(pairs[cell.row]?.[cell.column])],
            ]}
          />
        </Tip>
      )}
    </div>
  );
}

const NONE: readonly number[] = [];
const NO_ROWS: readonly (readonly number[])[] = [];

/** A few pairs by name: both tokens, or the one that the title leaves open. */
function Named({
  title,
  colour,
  pairs,
  texts,
  empty,
  both = false,
  backward = false,
}: {
  title: string;
  colour?: string;
  pairs: readonly Pair[];
  texts: readonly string[];
  empty: string;
  both?: boolean;
  /** Whether the token that attends is the one to name. */
  backward?: boolean;
}) {
  return (
    <div className="text-xs">
      <h3 className="flex items-center gap-1.5 text-2xs text-ink-2">
        {colour && <span className={`size-2 rounded-[2px] ${colour}`} />}
        {title}
      </h3>
      <p className="flex min-h-4 flex-wrap gap-x-3 gap-y-0.5">
        {pairs.length === 0 && <span className="text-ink-3">{empty}</span>}
        {pairs.map(({ at, from, value }) => (
          <span key={`${at} ${from}`} className="whitespace-nowrap">
            <TokenText text={texts[both || backward ? at : from] ?? ""} />
            {both && (
              <>
                <span className="text-ink-3"> ← </span>
                <TokenText text={texts[from] ?? ""} />
              </>
            )}{" "}
            <span className="num text-ink-2">{signed(value)}</span>
          </span>
        ))}
      </p>
    </div>
  );
}
