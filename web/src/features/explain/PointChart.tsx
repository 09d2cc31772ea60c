import { useMemo, useRef, useState } from "react";
import { Tip } from "../../components/Tip";
import { useSize } from "../../components/useSize";
import { count, signed } from "../../format/number";
import { Stroke } from "../sae/LineChart";
import { padded, pathOf, type Range, rangeOf, scale, ticks } from "../sae/plot";
import type { Point } from "./overview";

const HEIGHT = 168;
const AXIS = 18;
const HEAD = 6;
const GUTTER = 42;
const RIGHT = 10;
/** Pixels: the radius of a point for few components, and for as many as any has. */
const SMALL = 2;
const LARGE = 4.5;

export interface PointSeries {
  key: string;
  label: string;
  colour: string;
  points: readonly Point[];
}

/** Mean scores over something: points as large as they have components, dashed the token table. */
export function PointChart({
  label,
  series,
  named,
  edge,
  axis,
  domain,
  nothing,
}: {
  /** What the chart says, for who cannot see it. */
  label: string;
  series: readonly PointSeries[];
  /** What a place is called. */
  named: (x: number) => string;
  /** What is written under it. */
  edge: (x: number) => string;
  /** What lies along the axis. */
  axis: string;
  domain: Range;
  nothing: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const [tip, setTip] = useState<{ x: number; anchor: DOMRect } | null>(null);
  const [left, right, bottom] = [GUTTER, width - RIGHT, HEAD + HEIGHT];
  const range = useMemo(() => {
    const lines = series.flatMap(({ points }) => [
      { x: [], y: points.map(({ y }) => y) },
      { x: [], y: points.map(({ table }) => table) },
    ]);
    const found = rangeOf(lines);
    return found && padded({ low: Math.min(0, found.low), high: Math.max(0.1, found.high) });
  }, [series]);
  const across = scale(domain, left + 6, right - 6);
  const up = range && scale(range, bottom, HEAD);
  const most = Math.max(1, ...series.flatMap(({ points }) => points.map(({ n }) => n)));
  const places = [...new Set(series.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const marks = ticks(domain, Math.max(2, Math.min(12, Math.floor((right - left) / 48))));
  return (
    <figure className="min-w-0">
      <div ref={box} style={{ height: HEAD + HEIGHT + AXIS }} className="relative">
        {width > 0 && (
          <svg
            width={width}
            height={HEAD + HEIGHT + AXIS}
            role="img"
            aria-label={label}
            onPointerMove={(event) => {
              const own = event.currentTarget.getBoundingClientRect();
              const at = event.clientX - own.left;
              let nearest: number | null = null;
              for (const x of places)
                if (nearest === null || Math.abs(across(x) - at) < Math.abs(across(nearest) - at))
                  nearest = x;
              if (nearest !== null)
                setTip({
                  x: nearest,
                  anchor: new DOMRect(own.left + across(nearest), own.top + HEAD, 0, HEIGHT),
                });
            }}
            onPointerLeave={() => setTip(null)}
          >
            <rect x={0} y={0} width={width} height={HEAD + HEIGHT + AXIS} fill="transparent" />
            {up &&
              range &&
              ticks(range, 5).map((value) => (
                <g key={value}>
                  <line
                    x1={left}
                    x2={right}
                    y1={up(value)}
                    y2={up(value)}
                    stroke={value === 0 ? "var(--line-strong)" : "var(--line)"}
                  />
                  <text
                    x={left - 5}
                    y={up(value) + 3.5}
                    textAnchor="end"
                    className="num fill-ink-3 text-[10px]"
                  >
                    {value === 0 ? "0" : String(value).replace("-", "−")}
                  </text>
                </g>
              ))}
            {range &&
              marks.map((value) => (
                <text
                  key={value}
                  x={across(value)}
                  y={bottom + 13}
                  textAnchor="middle"
                  className="num fill-ink-3 text-[10px]"
                >
                  {edge(value)}
                </text>
              ))}
            {tip && (
              <line x1={across(tip.x)} x2={across(tip.x)} y1={HEAD} y2={bottom} stroke="var(--line-strong)" />
            )}
            {up &&
              series.map(({ key, colour, points }) => (
                <g key={key} data-series={key}>
                  <path
                    d={pathOf(points.map(({ x, table }) => (table === null ? null : [across(x), up(table)])))}
                    fill="none"
                    stroke={colour}
                    strokeDasharray="3 3"
                    opacity={0.6}
                  />
                  <path
                    d={pathOf(points.map(({ x, y }) => [across(x), up(y)]))}
                    fill="none"
                    stroke={colour}
                    strokeWidth={1.5}
                    strokeLinejoin="round"
                  />
                  {points.map(({ x, y, n }) => (
                    <circle
                      key={x}
                      cx={across(x)}
                      cy={up(y)}
                      r={SMALL + (LARGE - SMALL) * Math.sqrt(n / most)}
                      fill={colour}
                      stroke="var(--panel)"
                    />
                  ))}
                </g>
              ))}
          </svg>
        )}
        {range === null && (
          <p className="absolute inset-0 flex items-center justify-center px-8 text-center text-xs text-ink-3">
            {nothing}
          </p>
        )}
      </div>
      <figcaption className="text-center text-2xs text-ink-3">{axis}</figcaption>
      {tip && (
        <Tip anchor={tip.anchor}>
          <p className="text-ink-3">{named(tip.x)}</p>
          <table className="num">
            <thead className="text-2xs text-ink-3">
              <tr>
                <th />
                <th className="pl-3 text-right font-normal">mean</th>
                <th className="pl-3 text-right font-normal">sd</th>
                <th className="pl-3 text-right font-normal">table</th>
                <th className="pl-3 text-right font-normal">n</th>
              </tr>
            </thead>
            <tbody>
              {series.map(({ key, label, colour, points }) => {
                const point = points.find(({ x }) => x === tip.x);
                return (
                  <tr key={key}>
                    <td className="max-w-40 truncate">
                      <span className="inline-flex items-center gap-1.5 text-ink-2">
                        <Stroke colour={colour} />
                        {label}
                      </span>
                    </td>
                    <td className="pl-3 text-right">{signed(point?.y)}</td>
                    <td className="pl-3 text-right text-ink-2">
                      {signed(point?.deviation).replace("+", "")}
                    </td>
                    <td className="pl-3 text-right text-ink-2">{signed(point?.table)}</td>
                    <td className="pl-3 text-right text-ink-2">{count(point?.n ?? 0)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Tip>
      )}
    </figure>
  );
}
