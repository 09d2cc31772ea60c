import { useEffect, useMemo, useRef, useState } from "react";
import type { TrainPoint } from "../../api/types";
import { activationOpacity } from "../../colour/scale";
import { resolved, useColourScheme } from "../../components/canvas";
import { Facts, Tip } from "../../components/Tip";
import { useSize } from "../../components/useSize";
import { amount, count, percent, short } from "../../format/number";
import { binsUsed, type Column, columnsOf, totalOf } from "./density";
import { type Range, scale, ticks } from "./plot";

const ROW = 11;
/** Room above, for the topmost label. */
const HEAD = 5;
const GUTTER = 42;
const AXIS = 16;
const GAP = 14;
/** The least width of a column of time, in pixels. */
const COLUMN = 3;

/**
 * How often latents fire, over a training: time from left to right, density from rare to common upwards, darker where more
 * latents are; at the right the newest moment as bars. The lowest row has the latents that did not fire at all.
 */
export function DensityMap({ points, ...rest }: Omit<MapProps, "newest">) {
  const newest = points.at(-1);
  if (newest) return <Filled points={points} newest={newest} {...rest} />;
  return (
    <p className="flex h-44 items-center justify-center text-xs text-ink-3">
      The first row of the log brings the first histogram.
    </p>
  );
}

interface MapProps {
  points: readonly TrainPoint[];
  /** The last of them. */
  newest: TrainPoint;
  /** Tokens, from the left end to the right one. */
  domain: Range;
  at: number | null;
  onAt: (tokens: number | null) => void;
}

function Filled({ points, newest, domain, at, onAt }: MapProps) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width } = useSize(box);
  const scheme = useColourScheme();
  const [tip, setTip] = useState<{ anchor: DOMRect; rows: readonly (readonly [string, string])[] } | null>(
    null,
  );
  const barsWidth = Math.max(80, Math.min(260, width * 0.28));
  const mapWidth = Math.max(0, Math.floor(width - GUTTER - GAP - barsWidth));
  const columns = useMemo(
    () => columnsOf(points, Math.max(1, Math.floor(mapWidth / COLUMN))),
    [points, mapWidth],
  );
  const used = useMemo(() => binsUsed(points.map(({ density }) => density)), [points]);
  const { edges } = newest.density;
  const rows = used.last - used.first + 1;
  const height = rows * ROW;
  const never = height + 4;
  const across = useMemo(() => scale(domain, 0, mapWidth), [domain, mapWidth]);
  const most = useMemo(
    () => Math.max(1e-9, ...columns.flatMap(({ shares, never }) => [never, ...shares])),
    [columns],
  );

  // biome-ignore lint/correctness/useExhaustiveDependencies: the scheme changes what the colours resolve to
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || mapWidth <= 0) return;
    const ratio = window.devicePixelRatio || 1;
    element.width = mapWidth * ratio;
    element.height = (never + ROW) * ratio;
    context.scale(ratio, ratio);
    context.fillStyle = resolved(element, "var(--raised)");
    context.fillRect(0, 0, mapWidth, height);
    context.fillRect(0, never, mapWidth, ROW);
    const [active, grey] = [resolved(element, "var(--active)"), resolved(element, "var(--ink-3)")];
    for (const { from, to, shares, never: silent } of columns) {
      // On whole pixels, or neighbours would show a seam.
      const left = Math.round(across(from) * ratio) / ratio;
      const wide = Math.max(1 / ratio, Math.round(across(to) * ratio) / ratio - left);
      context.fillStyle = active;
      for (let row = 0; row < rows; row++) {
        const share = shares[used.last - row] ?? 0;
        if (share === 0) continue;
        context.globalAlpha = activationOpacity(share, most);
        context.fillRect(left, row * ROW, wide, ROW);
      }
      context.fillStyle = grey;
      context.globalAlpha = activationOpacity(silent, most);
      if (silent > 0) context.fillRect(left, never, wide, ROW);
    }
    context.globalAlpha = 1;
  }, [columns, across, mapWidth, height, never, rows, used, most, scheme]);

  const total = totalOf(newest.density);
  const binAt = (y: number): number | "never" | null => {
    if (y >= never && y < never + ROW) return "never";
    const row = Math.floor(y / ROW);
    return row >= 0 && row < rows ? used.last - row : null;
  };
  const nameOf = (bin: number | "never") =>
    bin === "never"
      ? "did not fire"
      : `${percent(10 ** (edges[bin] ?? 0))} to ${percent(10 ** (edges[bin + 1] ?? 0))}`;
  const columnAt = (x: number): Column | undefined => {
    const tokens = domain.low + (x / Math.max(1, mapWidth)) * (domain.high - domain.low);
    return columns.find(({ from, to }) => tokens > from && tokens <= to);
  };
  const labels = edges
    .map((edge, i) => ({ edge, y: (used.last + 1 - i) * ROW }))
    .filter(({ edge, y }) => Number.isInteger(edge) && y >= -1 && y <= height + 1);
  const bars = [
    ...Array.from({ length: rows }, (_, row) => {
      const bin = used.last - row;
      return { bin: bin as number | "never", n: newest.density.counts[bin] ?? 0, y: row * ROW };
    }),
    { bin: "never" as const, n: newest.density.below, y: never },
  ];
  const longest = Math.max(1, ...bars.map(({ n }) => n));
  const barsLeft = GUTTER + mapWidth + GAP;
  return (
    <div
      ref={box}
      className="relative"
      style={{ height: HEAD + never + ROW + AXIS }}
      data-testid="density-map"
    >
      {width > 0 && (
        <>
          <canvas
            ref={canvas}
            role="img"
            aria-label={`Densities of ${count(total)} latents over the training, by tokens`}
            className="absolute block"
            style={{ left: GUTTER, top: HEAD, width: mapWidth, height: never + ROW }}
            onPointerMove={(event) => {
              const own = event.currentTarget.getBoundingClientRect();
              const [x, y] = [event.clientX - own.left, event.clientY - own.top];
              const [column, bin] = [columnAt(x), binAt(y)];
              onAt(domain.low + (x / Math.max(1, mapWidth)) * (domain.high - domain.low));
              if (!column || bin === null) return setTip(null);
              const share = bin === "never" ? column.never : (column.shares[bin] ?? 0);
              setTip({
                anchor: new DOMRect(
                  event.clientX,
                  own.top + (bin === "never" ? never : (used.last - bin) * ROW),
                  0,
                  ROW,
                ),
                rows: [
                  ["tokens", `${short(column.from)} to ${short(column.to)}`],
                  ["fire on", nameOf(bin)],
                  ["latents", `${count(Math.round(share * total))}, ${percent(share)}`],
                ],
              });
            }}
            onPointerLeave={() => {
              setTip(null);
              onAt(null);
            }}
          />
          <svg
            width={width}
            height={HEAD + never + ROW + AXIS}
            viewBox={`0 ${-HEAD} ${width} ${HEAD + never + ROW + AXIS}`}
            className="pointer-events-none absolute inset-0"
            role="img"
            aria-label={`Newest densities: ${count(newest.density.below)} of ${count(total)} latents did not fire`}
          >
            {labels.map(({ edge, y }) => (
              <text
                key={edge}
                x={GUTTER - 5}
                y={y + 3.5}
                textAnchor="end"
                className="num fill-ink-3 text-[10px]"
              >
                {edge >= -4 ? percentLabel(edge) : `1e−${-edge}`}
              </text>
            ))}
            <text x={GUTTER - 5} y={never + 8.5} textAnchor="end" className="fill-ink-3 text-[10px]">
              silent
            </text>
            {ticks(domain, Math.max(2, Math.floor(mapWidth / 80))).map((value) => (
              <text
                key={value}
                x={GUTTER + across(value)}
                y={never + ROW + 12}
                textAnchor={across(value) > mapWidth - 16 ? "end" : value === domain.low ? "start" : "middle"}
                className="num fill-ink-3 text-[10px]"
              >
                {short(value)}
              </text>
            ))}
            {at !== null && at >= domain.low && at <= domain.high && (
              <line
                x1={GUTTER + across(at)}
                x2={GUTTER + across(at)}
                y1={0}
                y2={never + ROW}
                stroke="var(--ink-2)"
              />
            )}
            {bars.map(({ bin, n, y }) => (
              <g
                key={bin}
                className="pointer-events-auto"
                onPointerEnter={(event) =>
                  setTip({
                    anchor: event.currentTarget.getBoundingClientRect(),
                    rows: [
                      ["now fire on", nameOf(bin)],
                      ["latents", `${count(n)}, ${percent(n / Math.max(1, total))}`],
                    ],
                  })
                }
                onPointerLeave={() => setTip(null)}
              >
                <rect x={barsLeft} y={y} width={barsWidth} height={ROW} fill="transparent" />
                <rect
                  x={barsLeft}
                  y={y + 0.5}
                  width={n === 0 ? 0 : Math.max(1, ((barsWidth - 34) * n) / longest)}
                  height={ROW - 1}
                  fill={bin === "never" ? "var(--ink-3)" : "var(--active)"}
                  opacity={0.8}
                />
                {n > 0 && (
                  <text
                    x={barsLeft + Math.max(1, ((barsWidth - 34) * n) / longest) + 4}
                    y={y + 9}
                    className="num fill-ink-3 text-[9px]"
                  >
                    {n >= 10_000 ? short(n) : amountOf(n)}
                  </text>
                )}
              </g>
            ))}
            <line x1={barsLeft} x2={barsLeft} y1={0} y2={never + ROW} stroke="var(--line-strong)" />
            <text x={barsLeft} y={never + ROW + 12} className="fill-ink-3 text-[10px]">
              latents, now
            </text>
          </svg>
        </>
      )}
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts rows={tip.rows} />
        </Tip>
      )}
    </div>
  );
}

function amountOf(n: number): string {
  return n < 1000 ? String(n) : amount(n);
}

function percentLabel(edge: number): string {
  return `${Number((10 ** edge * 100).toPrecision(1))}%`;
}
