import { useRef, useState } from "react";
import type { LatentHistogram } from "../../api/types";
import { Facts, Tip } from "../../components/Tip";
import { useSize } from "../../components/useSize";
import { count, percent } from "../../format/number";
import { totalOf } from "./density";

const HEIGHT = 96;
const AXIS = 16;
/** Room between what never fired and the rest. */
const GAP = 8;

/** A histogram of latents. What has no place on the axis stands by itself at the left. */
export function Bars({
  histogram,
  label,
  named,
  below,
  edge,
  every,
}: {
  histogram: LatentHistogram;
  label: string;
  /** What a bin is called. */
  named: (low: number, high: number) => string;
  /** What those without a place on the axis are called; null where there are none by their nature. */
  below: string | null;
  /** What is written under an edge. */
  edge: (value: number) => string;
  /** An edge in so many has its value written under it. */
  every: number;
}) {
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const [tip, setTip] = useState<{ anchor: DOMRect; rows: readonly (readonly [string, string])[] } | null>(
    null,
  );
  const { edges, counts } = histogram;
  const total = Math.max(1, totalOf(histogram));
  const bars = counts.map((n, i) => ({ n, name: named(edges[i] ?? 0, edges[i + 1] ?? 0) }));
  const first = below === null ? 0 : 1;
  const left = first ? Math.max(14, width / (bars.length + 2)) + GAP : 0;
  const step = (width - left) / Math.max(1, bars.length);
  const most = Math.max(1, histogram.below, ...counts);
  const height = (n: number) => (n === 0 ? 0 : Math.max(1.5, (HEIGHT * n) / most));
  const bar = (key: string, x: number, wide: number, n: number, name: string, grey: boolean) => (
    <g
      key={key}
      data-bar={key}
      onPointerEnter={(event) =>
        setTip({
          anchor: event.currentTarget.getBoundingClientRect(),
          rows: [
            [label, name],
            ["latents", `${count(n)}, ${percent(n / total)}`],
          ],
        })
      }
    >
      <rect x={x} y={0} width={wide} height={HEIGHT} fill="transparent" />
      <rect
        x={x + 0.5}
        y={HEIGHT - height(n)}
        width={Math.max(1, wide - 1)}
        height={height(n)}
        fill={grey ? "var(--ink-3)" : "var(--active)"}
        opacity={0.8}
      />
    </g>
  );
  return (
    <figure>
      <div ref={box} style={{ height: HEIGHT + AXIS }}>
        {width > 0 && (
          <svg
            width={width}
            height={HEIGHT + AXIS}
            role="img"
            aria-label={`Histogram of latents by ${label}`}
            onPointerLeave={() => setTip(null)}
          >
            {below !== null && bar("below", 0, left - GAP, histogram.below, below, true)}
            {bars.map(({ n, name }, i) => bar(String(i), left + i * step, step, n, name, false))}
            <line x1={left} x2={width} y1={HEIGHT} y2={HEIGHT} stroke="var(--line-strong)" />
            {below !== null && (
              <>
                <line x1={0} x2={left - GAP} y1={HEIGHT} y2={HEIGHT} stroke="var(--line-strong)" />
                <text x={0} y={HEIGHT + 12} className="fill-ink-3 text-[10px]">
                  {below}
                </text>
              </>
            )}
            {edges.map((value, i) =>
              i % every === 0 && (first === 0 || i > 0) ? (
                <text
                  key={value}
                  x={left + i * step}
                  y={HEIGHT + 12}
                  textAnchor={i === 0 ? "start" : i === edges.length - 1 ? "end" : "middle"}
                  className="num fill-ink-3 text-[10px]"
                >
                  {edge(value)}
                </text>
              ) : null,
            )}
          </svg>
        )}
      </div>
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts rows={tip.rows} />
        </Tip>
      )}
    </figure>
  );
}
