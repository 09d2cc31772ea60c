import { useEffect, useRef, useState } from "react";
import type { Token } from "../../api/types";
import { TokenText } from "../../components/TokenText";
import { columnsOf, type Pairs, paired, unpaired } from "./alignment";

type Side = "first" | "second";
interface Picked {
  side: Side;
  position: number;
}

/**
 * Two token rows one under the other, each pair a column; tokens without a counterpart stand over or under a gap.
 *
 * A click on a token and then on one of the other row pairs them; the line between two takes them apart. Arrow keys
 * move, Enter picks, Delete takes apart, Escape lets go.
 */
export function AlignmentEditor({
  first,
  second,
  pairs,
  at,
  secondAt,
  busy,
  onChange,
}: {
  first: readonly Token[];
  second: readonly Token[];
  pairs: Pairs;
  /** The tokens after which D is read, underlined. */
  at: number;
  secondAt: number;
  /** Whether other tokens are on their way: nothing can be paired until they are here. */
  busy: boolean;
  onChange: (pairs: Pairs) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [picked, setPicked] = useState<Picked | null>(null);
  const [cursor, setCursor] = useState<Picked>({ side: "first", position: 0 });
  const columns = columnsOf(pairs, second.length);
  const columnOf = ({ side, position }: Picked) => columns.findIndex((column) => column[side] === position);
  // The cursor may be left behind by a shorter prompt.
  const home: Picked = columnOf(cursor) < 0 ? { side: "first", position: 0 } : cursor;

  // A token that was paired may stand in another column, as a new button: the focus goes along.
  const moved = useRef(false);
  const change = (next: Pairs) => {
    moved.current = true;
    setPicked(null);
    onChange(next);
  };
  useEffect(() => {
    if (!moved.current) return;
    moved.current = false;
    tokenAt(home)?.focus({ preventScroll: true });
  });
  const tokenAt = ({ side, position }: Picked) =>
    box.current?.querySelector<HTMLElement>(`[data-token="${side}.${position}"]`);

  const pick = (side: Side, position: number) => {
    setCursor({ side, position });
    if (busy) return;
    if (!picked || picked.side === side) {
      setPicked(picked?.position === position ? null : { side, position });
      return;
    }
    const [one, other] = side === "first" ? [position, picked.position] : [picked.position, position];
    change(pairs[one] === other ? unpaired(pairs, one) : paired(pairs, one, other));
  };
  const apart = (column: number) => {
    const one = columns[column]?.first;
    if (busy || one === null || one === undefined || columns[column]?.second === null) return;
    setCursor({ side: "first", position: one });
    change(unpaired(pairs, one));
  };
  const focus = (side: Side, position: number) => {
    setCursor({ side, position });
    tokenAt({ side, position })?.focus();
  };
  const press = (event: React.KeyboardEvent) => {
    const column = columnOf(home);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      for (let i = column + step; i >= 0 && i < columns.length; i += step) {
        const position = columns[i]?.[home.side];
        if (position === null || position === undefined) continue;
        focus(home.side, position);
        break;
      }
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const side: Side = event.key === "ArrowUp" ? "first" : "second";
      // Under a gap the nearest token on the left, or else on the right.
      const order = [...columns.slice(0, column + 1).reverse(), ...columns.slice(column + 1)];
      const position = order.map((other) => other[side]).find((found) => found !== null);
      if (side !== home.side && position !== undefined && position !== null) focus(side, position);
    } else if (event.key === "Delete" || event.key === "Backspace") apart(column);
    else if (event.key === "Escape" && picked) setPicked(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const chip = (side: Side, position: number | null, other: number | null) => {
    if (position === null) return <span className="h-5 rounded-[3px] border border-dashed border-line" />;
    const tokens = side === "first" ? first : second;
    const text = tokens[position]?.text ?? "";
    const mate = other === null ? null : ((side === "first" ? second : first)[other]?.text ?? "");
    const chosen = picked?.side === side && picked.position === position;
    const read = position === (side === "first" ? at : secondAt);
    const about = mate === null ? "no counterpart" : `paired with ${mate.trim() || "␣"} (token ${other})`;
    return (
      <button
        type="button"
        data-token={`${side}.${position}`}
        tabIndex={home.side === side && home.position === position ? 0 : -1}
        aria-pressed={chosen}
        aria-label={`${side} prompt, token ${position}, ${text}, ${about}`}
        title={`token ${position} · ${about}`}
        onClick={() => pick(side, position)}
        className={`h-5 rounded-[3px] px-[3px] text-center text-xs hover:outline-1 hover:outline-line-strong ${
          mate === null
            ? "border border-dashed border-line-strong text-ink-2"
            : mate === text
              ? "bg-raised"
              : "bg-raised font-semibold outline-1 outline-line-strong"
        } ${chosen ? "!outline-2 !outline-focus" : ""} ${read ? "shadow-[inset_0_-2px_0_var(--ink)]" : ""}`}
      >
        <TokenText text={text} />
      </button>
    );
  };

  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for form fields; these are two rows of tokens
    <div
      ref={box}
      role="group"
      aria-label="Alignment of the two prompts"
      aria-busy={busy}
      onKeyDown={press}
      className="flex max-h-52 flex-wrap gap-x-0.5 gap-y-2 overflow-y-auto p-0.5"
      data-testid="alignment"
    >
      {columns.map((column, i) => {
        const pair = column.first !== null && column.second !== null;
        return (
          <span
            key={column.first === null ? `second.${column.second}` : `first.${column.first}`}
            className="inline-flex flex-col"
            data-pair={`${column.first ?? "-"}:${column.second ?? "-"}`}
          >
            {chip("first", column.first, column.second)}
            {pair ? (
              <button
                type="button"
                tabIndex={-1}
                aria-label={`Unpair token ${column.first} and token ${column.second}`}
                title="Take this pair apart"
                onClick={() => apart(i)}
                className="group flex h-2.5 items-center justify-center"
              >
                <span className="h-full w-px bg-line-strong group-hover:w-1 group-hover:bg-bad" />
              </button>
            ) : (
              <span className="h-2.5" />
            )}
            {chip("second", column.second, column.first)}
          </span>
        );
      })}
    </div>
  );
}
