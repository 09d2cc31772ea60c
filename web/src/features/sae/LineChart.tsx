import { useMemo, useRef, useState } from "react";
import { Tip } from "../../components/Tip";
import { useSize } from "../../components/useSize";
import { short } from "../../format/number";
import {
  drawn,
  type Line,
  logTicks,
  nearest,
  padded,
  pathOf,
  type Range,
  rangeOf,
  scale,
  ticks,
} from "./plot";

const HEIGHT = 128;
const AXIS = 16;
const HEAD = 6;
/** Pixels for the numbers at the left. */
const GUTTER = 42;
const RIGHT = 8;

/** One line of a chart. */
export interface Series {
  key: string;
  /** Which autoencoder's it is, and what of it. */
  run: string;
  part: string;
  label: string;
  /** A CSS colour, and how its strokes are broken. */
  colour: string;
  dash?: string;
  line: Line;
  /** Measured so seldom that each point is marked. */
  dots?: boolean;
}

/** Something that happened at one moment, drawn through the chart. */
export interface Mark {
  key: string;
  x: number;
  colour: string;
  text: string;
}

/** Lines over the tokens that were trained on. Pointing at one chart shows the same moment on all of them. */
export function LineChart({
  title,
  about,
  series,
  marks,
  domain,
  log,
  floor,
  show,
  axis = label,
  nothing,
  pointed,
  at,
  onAt,
}: {
  title: string;
  /** What it is, in a sentence, for who points at its title. */
  about: string;
  series: readonly Series[];
  marks: readonly Mark[];
  /** Tokens, from the left end to the right one. */
  domain: Range;
  log: boolean;
  /** The axis begins no higher than this; ignored on a logarithmic one. */
  floor?: number;
  show: (value: number) => string;
  /** How the axis writes a value. */
  axis?: (value: number) => string;
  /** What stands where there is nothing to draw yet. */
  nothing: string;
  /** The autoencoder whose lines stand out. */
  pointed: string | null;
  /** The tokens that are pointed at. */
  at: number | null;
  onAt: (tokens: number | null) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const [anchor, setAnchor] = useState<DOMRect | null>(null);
  const [left, right, bottom] = [GUTTER, width - RIGHT, HEAD + HEIGHT];
  const found = useMemo(() => {
    const range = rangeOf(
      series.map(({ line }) => line),
      log,
    );
    if (!range || log || floor === undefined) return range;
    return { low: Math.min(floor, range.low), high: Math.max(floor, range.high) };
  }, [series, log, floor]);
  const range = useMemo(() => found && padded(found, log), [found, log]);
  const across = useMemo(() => scale(domain, left, right), [domain, left, right]);
  const up = useMemo(() => (range ? scale(range, bottom, HEAD, log) : null), [range, bottom, log]);
  const paths = useMemo(
    () => (up && right > left ? series.map(({ line }) => drawn(line, across, up, log)) : []),
    [series, across, up, log, left, right],
  );
  const heights = range ? (log ? logTicks(range, 5) : ticks(range, 5)) : [];
  const lengths = found === null ? [] : ticks(domain, Math.max(2, Math.floor((right - left) / 80)));
  const inside = (value: number) => value >= domain.low && value <= domain.high;
  return (
    <figure aria-label={title} className="min-w-0" data-testid={`chart-${title}`}>
      <figcaption className="flex items-baseline gap-2 pb-0.5 text-xs" title={about}>
        <span className="font-medium whitespace-nowrap">{title}</span>
        <span className="truncate text-2xs text-ink-3">{about}</span>
      </figcaption>
      <div ref={box} style={{ height: HEAD + HEIGHT + AXIS }} className="relative">
        {width > 0 && (
          <svg
            width={width}
            height={HEAD + HEIGHT + AXIS}
            role="img"
            aria-label={`${title} over the tokens trained on`}
            onPointerMove={(event) => {
              const own = event.currentTarget.getBoundingClientRect();
              const x = Math.max(left, Math.min(right, event.clientX - own.left));
              onAt(domain.low + ((x - left) / (right - left)) * (domain.high - domain.low));
              setAnchor(new DOMRect(own.left + x, own.top + HEAD, 0, HEIGHT));
            }}
            onPointerLeave={() => {
              onAt(null);
              setAnchor(null);
            }}
          >
            <rect x={0} y={0} width={width} height={HEAD + HEIGHT + AXIS} fill="transparent" />
            {up &&
              heights.map((value) => (
                <g key={value}>
                  <line x1={left} x2={right} y1={up(value)} y2={up(value)} stroke="var(--line)" />
                  <text
                    x={left - 5}
                    y={up(value) + 3.5}
                    textAnchor="end"
                    className="num fill-ink-3 text-[10px]"
                  >
                    {axis(value)}
                  </text>
                </g>
              ))}
            <line x1={left} x2={right} y1={bottom} y2={bottom} stroke="var(--line-strong)" />
            {lengths.map((value) => (
              <text
                key={value}
                x={across(value)}
                y={bottom + 12}
                textAnchor={across(value) > right - 16 ? "end" : value === domain.low ? "start" : "middle"}
                className="num fill-ink-3 text-[10px]"
              >
                {short(value)}
              </text>
            ))}
            {marks
              .filter(({ x }) => inside(x))
              .map((mark) => (
                <g key={mark.key} data-mark={mark.key} stroke={mark.colour} fill={mark.colour}>
                  <line
                    x1={across(mark.x)}
                    x2={across(mark.x)}
                    y1={HEAD}
                    y2={bottom}
                    strokeDasharray="2 2"
                    opacity={0.7}
                  />
                  <path d={`M${across(mark.x) - 3.5} ${HEAD - 5}h7l-3.5 5.5z`} stroke="none" />
                </g>
              ))}
            {series.map((one, i) => {
              const line = paths[i] ?? [];
              return (
                <g
                  key={one.key}
                  data-series={one.key}
                  stroke={one.colour}
                  fill="none"
                  opacity={pointed === null || pointed === one.run ? 1 : 0.15}
                >
                  <path
                    d={pathOf(line)}
                    strokeWidth={1.5}
                    strokeLinejoin="round"
                    strokeDasharray={one.dash}
                  />
                  {(one.dots || line.length === 1) &&
                    line.map(
                      (point) =>
                        point && (
                          <circle
                            key={point[0]}
                            cx={point[0]}
                            cy={point[1]}
                            r={2.25}
                            fill={one.colour}
                            stroke="none"
                          />
                        ),
                    )}
                </g>
              );
            })}
            {at !== null && inside(at) && (
              <line x1={across(at)} x2={across(at)} y1={HEAD} y2={bottom} stroke="var(--ink-2)" />
            )}
          </svg>
        )}
        {found === null && (
          <p className="absolute inset-0 flex items-center justify-center pl-10 text-center text-xs text-ink-3">
            {nothing}
          </p>
        )}
      </div>
      {anchor && at !== null && found !== null && (
        <Tip anchor={anchor}>
          <Moment series={series} marks={marks} domain={domain} at={at} show={show} />
        </Tip>
      )}
    </figure>
  );
}

/** What an axis says of a value: short for a large one, as it is for a small one. */
function label(value: number): string {
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(0).replace("-", "−");
  return short(value).replace("-", "−");
}

/** What all lines say at one moment. */
function Moment({
  series,
  marks,
  domain,
  at,
  show,
}: {
  series: readonly Series[];
  marks: readonly Mark[];
  domain: Range;
  at: number;
  show: (value: number) => string;
}) {
  const near = (domain.high - domain.low) / 60;
  const places = series.map(({ line }) => nearest(line, at));
  const first = places.findIndex((place) => place !== null);
  const tokens = first < 0 ? at : (series[first]?.line.x[places[first] as number] ?? at);
  return (
    <dl className="grid grid-cols-[auto_auto] gap-x-3">
      <div className="col-span-2 text-ink-3">after {short(tokens)} tokens</div>
      {series.map(({ key, label, colour, dash, line }, i) => {
        const place = places[i];
        return (
          <div key={key} className="col-span-2 grid grid-cols-subgrid">
            <dt className="flex items-center gap-1.5 text-ink-2">
              <Stroke colour={colour} dash={dash} />
              {label}
            </dt>
            <dd className="num text-right">{place == null ? "–" : show(line.y[place] as number)}</dd>
          </div>
        );
      })}
      {marks
        .filter(({ x }) => Math.abs(x - at) < near)
        .map(({ key, text }) => (
          <div key={key} className="col-span-2 text-ink-2">
            {text}
          </div>
        ))}
    </dl>
  );
}

/** A line's colour and dashes, as its legend. */
export function Stroke({ colour, dash }: { colour: string; dash?: string }) {
  return (
    <svg width={14} height={8} aria-hidden="true" className="shrink-0">
      <line x1={0} x2={14} y1={4} y2={4} stroke={colour} strokeWidth={2} strokeDasharray={dash} />
    </svg>
  );
}
