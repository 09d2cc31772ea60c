import { useState } from "react";
import { Facts, Tip } from "../../components/Tip";
import { signed } from "../../format/number";
import { disagrees, type Row } from "./nodeRows";

const MARGIN = { left: 44, right: 8, top: 8, bottom: 30 };
/** How near the pointer must be to a point, in CSS pixels. */
const REACH = 12;

interface Point {
  row: Row;
  x: number;
  y: number;
}

/** Estimated effect across, verified effect up; on the diagonal they agree. */
export function ScatterPlot({
  rows,
  active,
  width,
  height,
  onPick,
}: {
  /** Rows that have a verified effect. */
  rows: readonly Row[];
  active: string | null;
  width: number;
  height: number;
  onPick: (id: string) => void;
}) {
  const [hover, setHover] = useState<{ point: Point; anchor: DOMRect } | null>(null);
  const { low, high } = rangeOf(rows);
  const across = width - MARGIN.left - MARGIN.right;
  const up = height - MARGIN.top - MARGIN.bottom;
  const x = (value: number) => MARGIN.left + ((value - low) / (high - low)) * across;
  const y = (value: number) => MARGIN.top + up - ((value - low) / (high - low)) * up;
  const points: Point[] = rows.map((row) => ({
    row,
    x: x(row.estimated_effect),
    y: y(row.verified_effect ?? 0),
  }));
  /** A point under the pointer or the keys, where its tip goes. */
  const pointed = (point: Point, box: DOMRect) => ({
    point,
    anchor: new DOMRect(box.left + point.x - 4, box.top + point.y - 4, 8, 8),
  });
  const press = (event: React.KeyboardEvent<SVGSVGElement>) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      const order = [...points].sort((a, b) => a.x - b.x);
      const now = order.findIndex(({ row }) => row.id === (hover?.point.row.id ?? active));
      const next = order[Math.max(0, Math.min(order.length - 1, now + step))];
      if (next) setHover(pointed(next, event.currentTarget.getBoundingClientRect()));
    } else if (event.key === "Enter" && hover) {
      event.preventDefault();
      onPick(hover.point.row.id);
    }
  };
  const nearest = (event: React.MouseEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const distance = (point: Point) =>
      Math.hypot(point.x - event.clientX + box.left, point.y - event.clientY + box.top);
    let best: Point | null = null;
    for (const point of points) if (!best || distance(point) < distance(best)) best = point;
    if (!best || distance(best) > REACH) return null;
    return pointed(best, box);
  };
  return (
    <>
      <svg
        width={width}
        height={height}
        role="img"
        data-testid="scatter"
        aria-label={`Estimated against verified effect of ${rows.length} nodes; on the diagonal they agree. Arrow keys move from node to node, Enter selects its row`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys walk its points, as on the heat map
        tabIndex={0}
        onKeyDown={press}
        onBlur={() => setHover(null)}
        className={`outline-none focus-visible:outline-2 focus-visible:outline-focus ${hover ? "cursor-pointer" : ""}`}
        onPointerMove={(event) => setHover(nearest(event))}
        onPointerLeave={() => setHover(null)}
        onClick={(event) => {
          const found = nearest(event);
          if (found) onPick(found.point.row.id);
        }}
      >
        <rect x={MARGIN.left} y={MARGIN.top} width={across} height={up} fill="var(--page)" rx={3} />
        {ticks(low, high).map((tick) => (
          <g key={tick}>
            <line x1={x(tick)} x2={x(tick)} y1={MARGIN.top} y2={MARGIN.top + up} stroke="var(--line)" />
            <line x1={MARGIN.left} x2={MARGIN.left + across} y1={y(tick)} y2={y(tick)} stroke="var(--line)" />
            <text x={x(tick)} y={MARGIN.top + up + 13} textAnchor="middle" className="fill-ink-3 text-[10px]">
              {short(tick)}
            </text>
            <text x={MARGIN.left - 5} y={y(tick) + 3.5} textAnchor="end" className="fill-ink-3 text-[10px]">
              {short(tick)}
            </text>
          </g>
        ))}
        <line x1={x(low)} y1={y(low)} x2={x(high)} y2={y(high)} stroke="var(--ink-3)" strokeDasharray="3 3" />
        {points.map(({ row, x: cx, y: cy }) => (
          <circle
            key={row.id}
            data-point={row.id}
            cx={cx}
            cy={cy}
            r={row.id === active || row.id === hover?.point.row.id ? 5 : 3}
            fill={(row.verified_effect ?? 0) >= 0 ? "var(--toward)" : "var(--against)"}
            fillOpacity={0.6}
            stroke={
              row.id === active
                ? "var(--focus)"
                : disagrees(row.estimated_effect, row.verified_effect)
                  ? "var(--ink)"
                  : "none"
            }
            strokeWidth={row.id === active ? 2 : 1}
          />
        ))}
        <text
          x={MARGIN.left + across / 2}
          y={height - 3}
          textAnchor="middle"
          className="fill-ink-2 text-[10px]"
        >
          estimated
        </text>
        <text
          x={-(MARGIN.top + up / 2)}
          y={10}
          transform="rotate(-90)"
          textAnchor="middle"
          className="fill-ink-2 text-[10px]"
        >
          verified
        </text>
      </svg>
      {hover && (
        <Tip anchor={hover.anchor}>
          <p className="font-mono">{hover.point.row.id.replace("<-", "←")}</p>
          <Facts
            rows={[
              ["estimated", signed(hover.point.row.estimated_effect)],
              ["verified", signed(hover.point.row.verified_effect)],
              ["off by", signed(hover.point.row.disagreement)],
            ]}
          />
        </Tip>
      )}
    </>
  );
}

/** One range for both axes, so that the diagonal is one, with zero in it and a little air around. */
function rangeOf(rows: readonly Row[]): { low: number; high: number } {
  let low = 0;
  let high = 0;
  for (const { estimated_effect, verified_effect } of rows) {
    low = Math.min(low, estimated_effect, verified_effect ?? 0);
    high = Math.max(high, estimated_effect, verified_effect ?? 0);
  }
  const air = (high - low || 1) * 0.05;
  return { low: low - air, high: high + air };
}

/** About five round numbers between `low` and `high`. */
export function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((times) => times * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

function short(value: number): string {
  const text = Number(value.toPrecision(6)).toString();
  return text.replace("-", "−");
}
