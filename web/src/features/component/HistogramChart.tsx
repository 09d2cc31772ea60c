import { useMemo, useRef, useState } from "react";
import type { Histogram } from "../../api/types";
import { Facts, Tip } from "../../components/Tip";
import { useSize } from "../../components/useSize";
import { count, percent, signed } from "../../format/number";
import { type Bar, barsOf, placeIn } from "./histogram";

const HEIGHT = 92;
const AXIS = 16;
const HEAD = 14;
/** Labels under the axis, at most: one for so many pixels. */
const LABEL = 58;

/** How often which activation: bars of equal width on a logarithmic axis both ways, heights logarithmic as well. */
export function HistogramChart({ histogram, mark }: { histogram: Histogram; mark: number | null }) {
  const bars = useMemo(() => barsOf(histogram), [histogram]);
  const [tip, setTip] = useState<{ bar: Bar; anchor: DOMRect } | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const most = Math.log10(1 + Math.max(1, ...bars.map((bar) => bar.count)));
  const step = width / Math.max(1, bars.length);
  const place = mark === null ? null : placeIn(bars, mark);
  const every = Math.max(1, Math.ceil(LABEL / Math.max(1, step)));
  const edges = bars.length ? [...bars.map(({ low }) => low), bars.at(-1)?.high ?? 0] : [];
  return (
    <figure>
      <div ref={box} style={{ height: HEAD + HEIGHT + AXIS }}>
        {width > 0 && (
          <svg
            width={width}
            height={HEAD + HEIGHT + AXIS}
            role="img"
            aria-label={`Histogram of activations${mark === null ? "" : `; the strongest token of the prompt is at ${signed(mark)}`}`}
            onPointerLeave={() => setTip(null)}
          >
            {bars.map((bar, i) => {
              const height = bar.count === 0 ? 0 : Math.max(1.5, (HEIGHT * Math.log10(1 + bar.count)) / most);
              return (
                <g
                  key={bar.low}
                  data-bar={i}
                  onPointerEnter={(event) =>
                    setTip({ bar, anchor: event.currentTarget.getBoundingClientRect() })
                  }
                >
                  <rect x={i * step} y={HEAD} width={step} height={HEIGHT} fill="transparent" />
                  <rect
                    x={i * step + (step > 4 ? 0.5 : 0)}
                    y={HEAD + HEIGHT - height}
                    width={Math.max(1, step - (step > 4 ? 1 : 0))}
                    height={height}
                    fill={bar.high <= 0 ? "var(--against)" : bar.low < 0 ? "var(--ink-3)" : "var(--active)"}
                    opacity={tip?.bar === bar ? 1 : 0.75}
                  />
                </g>
              );
            })}
            <line x1={0} x2={width} y1={HEAD + HEIGHT} y2={HEAD + HEIGHT} stroke="var(--line-strong)" />
            {edges.map((edge, i) =>
              i % every === 0 && i * step < width - LABEL ? (
                <text
                  key={edge}
                  x={i * step}
                  y={HEAD + HEIGHT + 12}
                  textAnchor={i === 0 ? "start" : "middle"}
                  className="fill-ink-3 text-[10px]"
                >
                  {signed(edge)}
                </text>
              ) : null,
            )}
            {edges.length > 0 && (
              <text x={width} y={HEAD + HEIGHT + 12} textAnchor="end" className="fill-ink-3 text-[10px]">
                {signed(edges.at(-1))}
              </text>
            )}
            {place && (
              <g data-testid="histogram-mark">
                <line
                  x1={place.x * step}
                  x2={place.x * step}
                  y1={HEAD - 2}
                  y2={HEAD + HEIGHT}
                  stroke="var(--ink)"
                  strokeWidth={1.5}
                  strokeDasharray={place.outside ? "2 2" : undefined}
                />
                <text
                  x={Math.max(2, Math.min(width - 2, place.x * step + (place.x * step > width / 2 ? -4 : 4)))}
                  y={9}
                  textAnchor={place.x * step > width / 2 ? "end" : "start"}
                  className="fill-ink text-[10px] font-medium"
                >
                  {place.outside ? "beyond the atlas: " : "your prompt: "}
                  {signed(mark)}
                </text>
              </g>
            )}
          </svg>
        )}
      </div>
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              ["activation", `${signed(tip.bar.low)} to ${signed(tip.bar.high)}`],
              ["tokens", count(tip.bar.count)],
              ["share", percent(tip.bar.share)],
              ["below it", percent(tip.bar.below)],
            ]}
          />
        </Tip>
      )}
    </figure>
  );
}
