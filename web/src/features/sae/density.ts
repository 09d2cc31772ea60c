import type { LatentHistogram, TrainPoint } from "../../api/types";

/** Rows of a log, put together: the share of latents in each bin of density, over these tokens. */
export interface Column {
  /** Tokens before the first of its rows and after the last of them. */
  from: number;
  to: number;
  /** In each bin; it goes up from the least density. */
  shares: readonly number[];
  /** The share of latents that never fired. */
  never: number;
}

/**
 * A log's density histograms as at most `most` columns of equally many tokens: what falls into one is averaged.
 *
 * A column without a row, of a log that is sparser than the columns, is left out, so each is as wide as it needs to be.
 */
export function columnsOf(points: readonly TrainPoint[], most: number): Column[] {
  const last = points.at(-1);
  if (!last || most < 1) return [];
  const size = last.tokens / most;
  const groups = new Map<number, TrainPoint[]>();
  for (const point of points) {
    const at = Math.min(most - 1, Math.max(0, Math.ceil(point.tokens / size) - 1));
    const group = groups.get(at);
    if (group) group.push(point);
    else groups.set(at, [point]);
  }
  let from = 0;
  return [...groups.values()].map((group) => {
    const bins = group[0]?.density.counts.length ?? 0;
    const sums = new Array<number>(bins).fill(0);
    let never = 0;
    let total = 0;
    for (const { density } of group) {
      density.counts.forEach((n, i) => {
        sums[i] = (sums[i] ?? 0) + n;
      });
      never += density.below;
      total += totalOf(density);
    }
    const column = {
      from,
      to: group.at(-1)?.tokens ?? from,
      shares: sums.map((n) => n / Math.max(1, total)),
      never: never / Math.max(1, total),
    };
    from = column.to;
    return column;
  });
}

/** How many latents a histogram is of. */
export function totalOf({ counts, below }: LatentHistogram): number {
  return counts.reduce((sum, n) => sum + n, below);
}

/** The bins from the first to the last that any of these histograms has something in; some more where that is few. */
export function binsUsed(histograms: readonly LatentHistogram[]): { first: number; last: number } {
  const bins = histograms[0]?.counts.length ?? 0;
  let first = bins;
  let last = -1;
  for (const { counts } of histograms)
    counts.forEach((n, i) => {
      if (n === 0) return;
      first = Math.min(first, i);
      last = Math.max(last, i);
    });
  return last < 0 ? { first: 0, last: bins - 1 } : { first, last };
}
