import { useEffect, useMemo, useRef, useState } from "react";
import type { Token } from "../../api/types";
import { effectShade, largest } from "../../colour/scale";
import { resolved, useColourScheme } from "../../components/canvas";
import { visible } from "../../format/token";
import type { Grid } from "./maps";

const MIN_CELL = 4;
const MAX_CELL = 64;
const LABEL_FROM = 13;

interface Cell {
  row: number;
  column: number;
}

/** Layers × tokens on a canvas: a thousand tokens are thirty thousand cells. Arrow keys move, Enter picks. */
export function HeatMap({
  grid,
  tokens,
  at,
  rowHeight,
  width,
  label,
  chosen,
  onHover,
  onPick,
}: {
  grid: Grid;
  tokens: readonly Token[];
  at: number;
  rowHeight: number;
  width: number;
  label: string;
  chosen: Cell | null;
  onHover: (hover: (Cell & { anchor: DOMRect }) | null) => void;
  onPick: (row: number, column: number) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [cursor, setCursor] = useState<Cell | null>(null);
  const scheme = useColourScheme();
  const max = useMemo(() => largest(grid.flat()), [grid]);
  const columns = tokens.length;
  const cellWidth = Math.max(MIN_CELL, Math.min(MAX_CELL, Math.floor(width / columns)));
  const drawn = cellWidth * columns;
  const height = grid.length * rowHeight;

  // biome-ignore lint/correctness/useExhaustiveDependencies: the scheme changes what the colours resolve to
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context) return;
    const ratio = window.devicePixelRatio || 1;
    element.width = drawn * ratio;
    element.height = height * ratio;
    context.scale(ratio, ratio);
    const toward = resolved(element, "var(--toward)");
    const against = resolved(element, "var(--against)");
    context.fillStyle = resolved(element, "var(--raised)");
    context.fillRect(0, 0, drawn, height);
    const gapX = cellWidth > 8 ? 1 : 0;
    const gapY = rowHeight > 6 ? 1 : 0;
    context.fillStyle = resolved(element, "var(--panel)");
    for (let row = 0; row < grid.length; row++)
      for (let column = 0; column < columns; column++)
        context.fillRect(column * cellWidth, row * rowHeight, cellWidth - gapX, rowHeight - gapY);
    grid.forEach((values, row) => {
      values.forEach((value, column) => {
        const shade = effectShade(value, max);
        if (shade === 0) return;
        context.globalAlpha = Math.abs(shade);
        context.fillStyle = shade > 0 ? toward : against;
        context.fillRect(column * cellWidth, row * rowHeight, cellWidth - gapX, rowHeight - gapY);
      });
    });
    context.globalAlpha = 1;
    for (const mark of [chosen, cursor]) {
      if (!mark) continue;
      context.strokeStyle = resolved(element, "var(--ink)");
      context.lineWidth = 1.5;
      context.strokeRect(mark.column * cellWidth - 0.5, mark.row * rowHeight - 0.5, cellWidth, rowHeight);
    }
  }, [grid, columns, cellWidth, rowHeight, drawn, height, max, chosen, cursor, scheme]);

  // A map wider than its box opens at the token that is explained.
  useEffect(() => {
    const box = canvas.current?.parentElement;
    if (box) box.scrollLeft = (at + 1) * cellWidth - box.clientWidth;
  }, [at, cellWidth]);

  const cellAt = (event: React.MouseEvent): Cell | null => {
    const box = event.currentTarget.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / cellWidth);
    const row = Math.floor((event.clientY - box.top) / rowHeight);
    return row >= 0 && row < grid.length && column >= 0 && column < columns ? { row, column } : null;
  };
  const hover = (cell: Cell | null) => {
    setCursor(cell);
    const box = canvas.current?.getBoundingClientRect();
    if (!cell || !box) return onHover(null);
    const left = box.left + cell.column * cellWidth;
    onHover({ ...cell, anchor: new DOMRect(left, box.top + cell.row * rowHeight, cellWidth, rowHeight) });
  };
  const press = (event: React.KeyboardEvent) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      event.preventDefault();
      const from = cursor ?? { row: grid.length - 1, column: at };
      hover({
        row: Math.max(0, Math.min(grid.length - 1, from.row + (step[0] ?? 0))),
        column: Math.max(0, Math.min(columns - 1, from.column + (step[1] ?? 0))),
      });
    } else if ((event.key === "Enter" || event.key === " ") && cursor) {
      event.preventDefault();
      onPick(cursor.row, cursor.column);
    }
  };
  const every = Math.max(1, Math.ceil(LABEL_FROM / cellWidth));
  return (
    <div className="overflow-x-auto" data-testid="heat-map">
      <canvas
        ref={canvas}
        tabIndex={0}
        role="img"
        aria-label={`${label} Rows are the embedding and ${grid.length - 1} layers, columns the tokens. Arrow keys move, Enter lists a cell's nodes.`}
        style={{ width: drawn, height }}
        className="block cursor-pointer"
        onPointerMove={(event) => hover(cellAt(event))}
        onPointerLeave={() => hover(null)}
        onBlur={() => hover(null)}
        onKeyDown={press}
        onClick={(event) => {
          const cell = cellAt(event);
          if (cell) onPick(cell.row, cell.column);
        }}
      />
      <div className="flex" style={{ width: drawn }} aria-hidden="true">
        {tokens.map((token, i) => (
          <div key={token.position} style={{ width: cellWidth }} className="shrink-0 overflow-visible">
            {i % every === 0 && (
              <span
                className={`block max-h-18 overflow-hidden pt-1 font-mono text-[10px] leading-none text-ellipsis whitespace-pre ${
                  cellWidth >= 44 ? "truncate text-center" : "[writing-mode:vertical-rl]"
                } ${token.position === at ? "font-semibold text-ink" : "text-ink-3"}`}
              >
                {visible(token.text)}
              </span>
            )}
          </div>
        ))}
      </div>
    </div>
  );
}
