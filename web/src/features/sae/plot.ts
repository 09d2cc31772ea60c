/** What line charts are made of: scales, ticks, and fewer points than were measured. */

export interface Range {
  low: number;
  high: number;
}

/** Points of one line, in the order they were measured: x never goes down, and a y that is null was not measured. */
export interface Line {
  x: readonly number[];
  y: readonly (number | null)[];
}

/** A line as it is drawn, in pixels; it is broken wherever `null` stands. */
export type Drawn = readonly ([x: number, y: number] | null)[];

/** Where a value falls between two ends, both given in pixels. `log`: by its logarithm; then it must be positive. */
export function scale(
  { low, high }: Range,
  from: number,
  to: number,
  log = false,
): (value: number) => number {
  const [start, end] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const size = end - start || 1;
  return (value) => from + (((log ? Math.log10(value) : value) - start) / size) * (to - from);
}

/** The range of what can be drawn; null when nothing can. On a logarithmic axis only what is above zero can. */
export function rangeOf(lines: readonly Line[], log = false): Range | null {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { y } of lines)
    for (const value of y) {
      if (!drawable(value, log)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  return low <= high ? { low, high } : null;
}

function drawable(value: number | null | undefined, log: boolean): value is number {
  return value !== null && value !== undefined && Number.isFinite(value) && (!log || value > 0);
}

/**
 * The line in pixels, with at most four points for each column of pixels: its first, lowest, highest and last.
 *
 * What is drawn is then the same, pixel for pixel, as with all points (Jugel et al. 2014, "M4"), however many there are.
 */
export function drawn(
  line: Line,
  x: (value: number) => number,
  y: (value: number) => number,
  log = false,
): Drawn {
  const points: ([number, number] | null)[] = [];
  let column = Number.NaN;
  let held: [number, number][] = [];
  const flush = () => {
    const [first, last] = [held[0], held.at(-1)];
    if (!first || !last) return;
    let [lowest, highest] = [0, 0];
    held.forEach((point, i) => {
      if (point[1] < (held[lowest] as [number, number])[1]) lowest = i;
      if (point[1] > (held[highest] as [number, number])[1]) highest = i;
    });
    const kept = [...new Set([0, lowest, highest, held.length - 1])].sort((a, b) => a - b);
    for (const i of kept) points.push(held[i] as [number, number]);
    held = [];
  };
  line.x.forEach((value, i) => {
    const height = line.y[i];
    // What was not measured is no break: the line goes on to what was measured next.
    if (height === null || height === undefined) return;
    if (!drawable(height, log)) {
      flush();
      column = Number.NaN;
      if (points.length && points.at(-1) !== null) points.push(null);
      return;
    }
    const at = x(value);
    if (Math.floor(at) !== column) flush();
    column = Math.floor(at);
    held.push([at, y(height)]);
  });
  flush();
  return points;
}

/** A drawn line as the path of an SVG. */
export function pathOf(line: Drawn): string {
  let path = "";
  let on = false;
  for (const point of line) {
    if (point) path += `${on ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    on = point !== null;
  }
  return path;
}

/** About `n` round numbers from `low` to `high`. */
export function ticks({ low, high }: Range, n: number): number[] {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / Math.max(1, n);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) ?? 10) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Powers of ten within the range, or 1, 2 and 5 times them where it holds few. */
export function logTicks({ low, high }: Range, n: number): number[] {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const powers = Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
  const inside = (values: number[]) =>
    values.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  const decades = inside(powers);
  if (decades.length >= 2) {
    const every = Math.ceil(decades.length / Math.max(1, n));
    return decades.filter((_, i) => i % every === 0);
  }
  const finer = inside(powers.flatMap((power) => [power, 2 * power, 5 * power]));
  return finer.length >= 2 ? finer : ticks({ low, high }, n);
}

/** A range that is a little wider, so that lines do not run along its ends. A single value gets one around it. */
export function padded({ low, high }: Range, log = false): Range {
  if (log) {
    const factor = high / low > 1 ? (high / low) ** 0.06 : 1.5;
    return { low: low / factor, high: high * factor };
  }
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.5 || 1;
  return { low: low >= 0 ? Math.max(0, low - pad) : low - pad, high: high + pad };
}

/** The place of the value nearest to `x` that was measured, in a list that goes up; null when there is none. */
export function nearest({ x: xs, y }: Line, x: number): number | null {
  let [low, high] = [0, xs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((xs[middle] as number) < x) low = middle + 1;
    else high = middle;
  }
  let [before, after] = [low - 1, low];
  while (before >= 0 && y[before] == null) before--;
  while (after < xs.length && y[after] == null) after++;
  if (after >= xs.length) return before >= 0 ? before : null;
  if (before < 0) return after;
  return x - (xs[before] as number) <= (xs[after] as number) - x ? before : after;
}
