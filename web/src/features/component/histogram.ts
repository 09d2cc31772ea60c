import type { Histogram } from "../../api/types";

export interface Bar {
  low: number;
  high: number;
  count: number;
  /** The share of all tokens in this bar, and in those below it. */
  share: number;
  below: number;
}

/** The bars from the first to the last that has a token: the empty ends say nothing. */
export function barsOf({ edges, counts }: Histogram): Bar[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const first = counts.findIndex((count) => count > 0);
  if (first < 0) return [];
  const last = counts.findLastIndex((count) => count > 0);
  let below = 0;
  return counts.slice(first, last + 1).map((count, i) => {
    const bar = {
      low: edges[first + i] ?? 0,
      high: edges[first + i + 1] ?? 0,
      count,
      share: count / total,
      below: below / total,
    };
    below += count;
    return bar;
  });
}

/**
 * Where a value falls on an axis on which all bars are equally wide, in bars from the left: 2.5 is the middle of the
 * third. Within a bar it is placed evenly. What lies outside is put at the end, and `outside` says so.
 */
export function placeIn(bars: readonly Bar[], value: number): { x: number; outside: boolean } {
  const [first, last] = [bars[0], bars.at(-1)];
  if (!first || !last || value < first.low) return { x: 0, outside: true };
  if (value > last.high) return { x: bars.length, outside: true };
  const at = bars.findIndex((bar) => value < bar.high);
  const bar = bars[at];
  if (!bar) return { x: bars.length, outside: false };
  return { x: at + (value - bar.low) / (bar.high - bar.low), outside: false };
}
