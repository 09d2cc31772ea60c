import type { Explanation, Token } from "../../api/types";
import { activationBackground, effectBackground } from "../../colour/scale";
import { ComponentLink } from "../../components/ComponentLink";
import { Icon } from "../../components/Icon";
import { TokenText } from "../../components/TokenText";
import { Trust } from "../../components/Trust";
import { Words } from "../../components/Words";
import { signed } from "../../format/number";
import { headlineOf } from "../../format/score";
import { type ColumnInfo, disagrees, type Maxima, maximumOf, type Row, valueIn } from "./nodeRows";

export const ROW_HEIGHT = 27;
/** Pixels that the words of a node's component take, where it has some. */
export const WORDS_HEIGHT = 18;

/** One node of the table. */
export function NodeRow({
  row,
  tokens,
  index,
  open,
  active,
  chosen,
  ablated,
  measuring,
  measuredHow,
  maxima,
  columns,
  words,
  onClick,
  onChoose,
}: {
  row: Row;
  /** The prompt that the row's node belongs to. */
  tokens: readonly Token[];
  index: number;
  open: boolean;
  active: boolean;
  /** Whether it is part of the selection. */
  chosen: boolean;
  /** Whether an edit switches it off. */
  ablated: boolean;
  measuring: boolean;
  /** How verified effects were measured, for the title of one. */
  measuredHow: string;
  maxima: Maxima;
  columns: readonly ColumnInfo[];
  /** The best explanation of the node's component; undefined: it has none. */
  words: Explanation | undefined;
  onClick: () => void;
  onChoose: () => void;
}) {
  const off = disagrees(row.estimated_effect, row.verified_effect);
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      aria-selected={active}
      data-node={row.id}
      onClick={onClick}
      style={{ height: ROW_HEIGHT + (words ? WORDS_HEIGHT : 0) }}
      className={`cursor-pointer border-b border-line text-xs hover:bg-raised ${
        active ? "bg-raised shadow-[inset_2px_0_0_var(--focus)]" : "bg-panel"
      }`}
    >
      <div
        role="presentation"
        className={`node-grid bg-inherit ${active ? "shadow-[inset_2px_0_0_var(--focus)]" : ""}`}
        style={{ height: ROW_HEIGHT - 1 }}
      >
        <div
          role="cell"
          className="flex items-center justify-center"
          onClick={(event) => event.stopPropagation()}
        >
          <input
            type="checkbox"
            checked={chosen}
            aria-label={`Select ${row.id}`}
            title="Select for an edit of several (x)"
            onChange={onChoose}
            className={`size-3.5 ${chosen ? "" : "opacity-45 hover:opacity-100 focus:opacity-100"}`}
          />
        </div>
        <div role="cell" className="sticky left-0 z-[1] flex min-w-0 items-center bg-inherit px-1">
          <button
            type="button"
            aria-expanded={open}
            aria-label={`${open ? "Close" : "Open"} ${row.id}`}
            className="flex h-full shrink-0 items-center px-0.5"
            onClick={(event) => {
              event.stopPropagation();
              onClick();
            }}
          >
            <Icon
              name="chevron"
              size={11}
              className={`text-ink-3 transition-transform ${open ? "rotate-90" : ""}`}
            />
          </button>
          <span
            className="min-w-0 truncate"
            title={ablated ? `${row.id} is switched off by an edit` : undefined}
          >
            <ComponentLink node={row.id} className={ablated ? "text-ink-3 line-through!" : ""} />
          </span>
        </div>
        <div role="cell" className="flex min-w-0 items-center gap-1 overflow-hidden px-2">
          <Place tokens={tokens} row={row} />
        </div>
        {columns
          .filter(({ look }) => look !== "name")
          .map(({ column, look }) => {
            const value = valueIn(row, column);
            const max = maximumOf(maxima, row, column);
            const background =
              look === "effect"
                ? effectBackground(value ?? 0, max)
                : look === "amount"
                  ? activationBackground(Math.abs(value ?? 0), max)
                  : undefined;
            const verified = column === "verified_effect";
            return (
              <div
                key={column}
                role="cell"
                data-column={column}
                className={`num flex items-center justify-end gap-1 px-2 ${
                  look === "plain" ? "text-ink-2" : ""
                } ${column.endsWith("_left") || verified ? "border-l border-line" : ""}`}
                style={{ background }}
                title={verified && value !== null ? measuredHow : undefined}
              >
                {verified && off && (
                  <span
                    className="font-semibold"
                    title="The estimate disagrees: off by more than 0.1, and by more than half of the larger"
                  >
                    <span aria-hidden="true">≠</span>
                    <span className="sr-only">disagrees with the estimate</span>
                  </span>
                )}
                {verified && measuring && value === null ? (
                  <span className="text-ink-3" title="Being measured">
                    …
                  </span>
                ) : (
                  signed(value)
                )}
              </div>
            );
          })}
      </div>
      {words && (
        <div
          role="cell"
          data-testid="node-words"
          className="sticky left-0 flex h-4 max-w-[calc(100vw-2rem)] min-w-0 items-baseline gap-2 pr-2 pl-12 text-2xs text-ink-2"
        >
          <span className="min-w-0 truncate" title={words.text}>
            <Words text={words.text} />
          </span>
          <Trust score={headlineOf(words)} className="shrink-0 max-sm:hidden" />
        </div>
      )}
    </div>
  );
}

function Place({ tokens, row: node }: { tokens: readonly Token[]; row: Row }) {
  if (node.position === null) return <span className="text-ink-3">every token</span>;
  return (
    <>
      <TokenText text={tokens[node.position]?.text ?? ""} className="truncate" />
      {node.source !== null && (
        <>
          <span className="text-ink-3">←</span>
          <TokenText text={tokens[node.source]?.text ?? ""} className="truncate" />
        </>
      )}
    </>
  );
}
