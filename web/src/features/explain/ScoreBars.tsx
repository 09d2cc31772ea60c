import { useRef, useState } from "react";
import type { Bin } from "../../api/types";
import { Facts, Tip } from "../../components/Tip";
import { useSize } from "../../components/useSize";
import { count, percent, signed } from "../../format/number";

const HEIGHT = 168;
const AXIS = 18;
const HEAD = 6;

export interface BarSeries {
  key: string;
  label: string;
  colour: string;
  bins: readonly Bin[];
}

/** How many components score what: the share of each bin, the first filled, a second one as an outline before it. */
export function ScoreBars({ series, axis }: { series: readonly BarSeries[]; axis: string }) {
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const [tip, setTip] = useState<{ i: number; anchor: DOMRect } | null>(null);
  const bins = series[0]?.bins ?? [];
  const step = width / Math.max(1, bins.length);
  const shares = series.map(({ bins }) => {
    const total = bins.reduce((sum, { n }) => sum + n, 0);
    return bins.map(({ n }) => n / Math.max(1, total));
  });
  const most = Math.max(1e-9, ...shares.flat());
  const height = (share: number) => (share === 0 ? 0 : Math.max(1.5, (HEIGHT * share) / most));
  const every = Math.max(1, Math.ceil(44 / Math.max(1, step)));
  const edges = [...bins.map(({ low }) => low), bins.at(-1)?.high ?? 1];
  return (
    <figure>
      <div ref={box} style={{ height: HEAD + HEIGHT + AXIS }}>
        {width > 0 && (
          <svg
            width={width}
            height={HEAD + HEIGHT + AXIS}
            role="img"
            aria-label="Components by their score"
            onPointerLeave={() => setTip(null)}
          >
            {bins.map(({ low }, i) => (
              <g
                key={low}
                data-bar={i}
                onPointerEnter={(event) => setTip({ i, anchor: event.currentTarget.getBoundingClientRect() })}
              >
                <rect x={i * step} y={HEAD} width={step} height={HEIGHT} fill="transparent" />
                {series.map(({ key, colour }, s) => {
                  const tall = height(shares[s]?.[i] ?? 0);
                  return (
                    <rect
                      key={key}
                      x={i * step + (s === 0 ? 0.5 : 2)}
                      y={HEAD + HEIGHT - tall}
                      width={Math.max(1, step - (s === 0 ? 1 : 4))}
                      height={tall}
                      fill={s === 0 ? colour : "none"}
                      opacity={s === 0 ? 0.75 : 1}
                      stroke={s === 0 ? "none" : colour}
                      strokeWidth={1.5}
                    />
                  );
                })}
              </g>
            ))}
            <line x1={0} x2={width} y1={HEAD + HEIGHT} y2={HEAD + HEIGHT} stroke="var(--line-strong)" />
            {edges.map((edge, i) =>
              i % every === 0 ? (
                <text
                  key={edge}
                  x={i * step}
                  y={HEAD + HEIGHT + 13}
                  textAnchor={i === 0 ? "start" : i === edges.length - 1 ? "end" : "middle"}
                  className="num fill-ink-3 text-[10px]"
                >
                  {String(Number(edge.toFixed(3))).replace("-", "−")}
                </text>
              ) : null,
            )}
          </svg>
        )}
      </div>
      <figcaption className="text-center text-2xs text-ink-3">{axis}</figcaption>
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              ["score", `${signed(bins[tip.i]?.low)} to ${signed(bins[tip.i]?.high)}`],
              ...series.map(
                ({ label, bins }, s) =>
                  [label, `${count(bins[tip.i]?.n ?? 0)}, ${percent(shares[s]?.[tip.i] ?? 0)}`] as const,
              ),
            ]}
          />
        </Tip>
      )}
    </figure>
  );
}
