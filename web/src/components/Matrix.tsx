import { type ReactNode, useEffect, useRef, useState } from "react";
import { resolved, useColourScheme } from "./canvas";

export interface Place {
  row: number;
  column: number;
}

const LABEL_FROM = 12;
/** Pixels: the advance of a label's letters, and the most that upright labels of columns may take. */
const LETTER = 6.1;
const MAX_LABEL = 64;

/**
 * A labelled grid of coloured cells on a canvas: hundreds of rows and columns stay fluent.
 *
 * `shade` is a number in [-1, 1] whose size is the opacity of `positive` or `negative`; null leaves a cell unmade. The
 * cell under the pointer and the chosen one are frames above the canvas, so that moving does not paint it again.
 * Arrow keys move, Enter picks.
 */
export function Matrix({
  rows,
  columns,
  cellWidth,
  cellHeight,
  rowLabels,
  columnLabels,
  gutter,
  shade,
  positive,
  negative,
  unmade,
  label,
  start,
  chosen,
  marked,
  onHover,
  onPick,
}: {
  rows: number;
  columns: number;
  cellWidth: number;
  cellHeight: number;
  /** null: no label there, even if there is room. */
  rowLabels: readonly (string | null)[];
  columnLabels: readonly string[];
  /** Pixels for the labels of the rows. */
  gutter: number;
  shade: (row: number, column: number) => number | null;
  /** CSS colours. */
  positive: string;
  negative: string;
  /** How a cell without a shade looks: a grey one that is still to come, or none at all. */
  unmade: "grey" | "none";
  label: string;
  /** Where the arrow keys begin. */
  start: Place;
  chosen: Place | null;
  /** The row and column whose labels stand out. */
  marked: { row: number | null; column: number | null };
  onHover: (hover: (Place & { anchor: DOMRect }) | null) => void;
  onPick: (place: Place) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [cursor, setCursor] = useState<Place | null>(null);
  const scheme = useColourScheme();
  const width = columns * cellWidth;
  const height = rows * cellHeight;

  // biome-ignore lint/correctness/useExhaustiveDependencies: the scheme changes what the colours resolve to
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context) return;
    const ratio = window.devicePixelRatio || 1;
    element.width = width * ratio;
    element.height = height * ratio;
    context.scale(ratio, ratio);
    const [up, down] = [resolved(element, positive), resolved(element, negative)];
    const [grey, white] = [resolved(element, "var(--raised)"), resolved(element, "var(--panel)")];
    const w = cellWidth - (cellWidth > 8 ? 1 : 0);
    const h = cellHeight - (cellHeight > 6 ? 1 : 0);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const value = shade(row, column);
        if (value === null && unmade === "none") continue;
        const [x, y] = [column * cellWidth, row * cellHeight];
        context.globalAlpha = 1;
        context.fillStyle = grey;
        context.fillRect(x, y, cellWidth, cellHeight);
        if (value === null) continue;
        context.fillStyle = white;
        context.fillRect(x, y, w, h);
        if (value === 0) continue;
        context.globalAlpha = Math.min(1, Math.abs(value));
        context.fillStyle = value > 0 ? up : down;
        context.fillRect(x, y, w, h);
      }
    }
  }, [rows, columns, cellWidth, cellHeight, width, height, shade, positive, negative, unmade, scheme]);

  const placeAt = (event: React.MouseEvent): Place | null => {
    const box = event.currentTarget.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / cellWidth);
    const row = Math.floor((event.clientY - box.top) / cellHeight);
    return row >= 0 && row < rows && column >= 0 && column < columns ? { row, column } : null;
  };
  const hover = (place: Place | null) => {
    if (place?.row === cursor?.row && place?.column === cursor?.column) return;
    setCursor(place);
    const box = canvas.current?.getBoundingClientRect();
    if (!place || !box) return onHover(null);
    const [x, y] = [box.left + place.column * cellWidth, box.top + place.row * cellHeight];
    onHover({ ...place, anchor: new DOMRect(x, y, cellWidth, cellHeight) });
  };
  const press = (event: React.KeyboardEvent) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      event.preventDefault();
      const from = cursor ?? chosen ?? start;
      hover({
        row: Math.max(0, Math.min(rows - 1, from.row + (step[0] ?? 0))),
        column: Math.max(0, Math.min(columns - 1, from.column + (step[1] ?? 0))),
      });
    } else if ((event.key === "Enter" || event.key === " ") && cursor) {
      event.preventDefault();
      onPick(cursor);
    }
  };
  const everyRow = Math.max(1, Math.ceil(LABEL_FROM / cellHeight));
  const upright = cellWidth < 44;
  const longest = Math.max(0, ...columnLabels.map((text) => text.length));
  const footer = upright ? Math.min(MAX_LABEL, longest * LETTER + 8) : 16;
  const everyColumn = Math.max(1, Math.ceil(LABEL_FROM / cellWidth));

  return (
    <div className="overflow-x-auto">
      <div className="relative" style={{ width: gutter + width }}>
        <div className="absolute top-0 left-0" aria-hidden="true">
          {rowLabels.map(
            (text, row) =>
              text !== null &&
              (row % everyRow === 0 || row === marked.row) && (
                <Label
                  // biome-ignore lint/suspicious/noArrayIndexKey: a row is its number
                  key={row}
                  strong={row === marked.row}
                  style={{ top: row * cellHeight, width: gutter - 4, height: Math.max(cellHeight, 10) }}
                  className="flex items-center justify-end"
                >
                  {text}
                </Label>
              ),
          )}
        </div>
        <div className="relative" style={{ marginLeft: gutter, width, height }}>
          <canvas
            ref={canvas}
            tabIndex={0}
            role="img"
            aria-label={label}
            style={{ width, height }}
            className="block cursor-pointer"
            onPointerMove={(event) => hover(placeAt(event))}
            onPointerLeave={() => hover(null)}
            onBlur={() => hover(null)}
            onKeyDown={press}
            onClick={(event) => {
              const place = placeAt(event);
              if (place) onPick(place);
            }}
          />
          {[chosen, cursor].map(
            (place, i) =>
              place && (
                <div
                  // biome-ignore lint/suspicious/noArrayIndexKey: the chosen one and the one under the pointer
                  key={i}
                  className="pointer-events-none absolute border-[1.5px] border-ink"
                  style={{
                    left: place.column * cellWidth - 1,
                    top: place.row * cellHeight - 1,
                    width: cellWidth + 1,
                    height: cellHeight + 1,
                  }}
                />
              ),
          )}
        </div>
        <div className="relative" style={{ marginLeft: gutter, width, height: footer }} aria-hidden="true">
          {columnLabels.map(
            (text, column) =>
              (column % everyColumn === 0 || column === marked.column) && (
                <Label
                  // biome-ignore lint/suspicious/noArrayIndexKey: a column is its number
                  key={column}
                  strong={column === marked.column}
                  style={{ left: column * cellWidth, width: Math.max(cellWidth, 10) }}
                  className={`pt-1 ${
                    upright
                      ? "flex max-h-16 items-center overflow-hidden [writing-mode:vertical-rl]"
                      : "truncate text-center"
                  }`}
                >
                  {text}
                </Label>
              ),
          )}
        </div>
      </div>
    </div>
  );
}

function Label({
  strong,
  style,
  className,
  children,
}: {
  strong: boolean;
  style: React.CSSProperties;
  className: string;
  children: ReactNode;
}) {
  return (
    <span
      style={style}
      className={`absolute overflow-hidden font-mono text-[10px] leading-none whitespace-pre ${
        strong ? "z-1 bg-panel font-semibold text-ink" : "text-ink-3"
      } ${className}`}
    >
      {children}
    </span>
  );
}
