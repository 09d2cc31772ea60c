import type { PairRows } from "../../colour/twoTones";

/** Token `at` receives a vector of length `value` from token `from`. */
export interface Pair {
  at: number;
  from: number;
  value: number;
}

/** The pairs of largest value, the largest first; those without any are left out. */
export function strongestPairs(rows: PairRows, n: number): Pair[] {
  return best(
    rows.flatMap((row, at) => row.map((value, from) => ({ at, from, value }))),
    n,
  );
}

/** From where token `at` receives most. */
export function strongestInto(rows: PairRows, at: number, n: number): Pair[] {
  return best(
    (rows[at] ?? []).map((value, from) => ({ at, from, value })),
    n,
  );
}

/** Which other tokens receive most from token `from`. */
export function strongestOutOf(rows: PairRows, from: number, n: number): Pair[] {
  return best(
    rows.flatMap((row, at) => (at > from ? [{ at, from, value: row[from] ?? 0 }] : [])),
    n,
  );
}

function best(pairs: Pair[], n: number): Pair[] {
  return pairs
    .filter(({ value }) => value > 0)
    .sort((one, other) => other.value - one.value)
    .slice(0, n);
}
