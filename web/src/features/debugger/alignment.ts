/** For each token of the first prompt its counterpart in the second one, or null. */
export type Pairs = readonly (number | null)[];

/** One column of two token rows one under the other: a pair, or a token without a counterpart. */
export interface Column {
  first: number | null;
  second: number | null;
}

/**
 * Both token rows in columns, every token once.
 *
 * The first prompt's tokens keep their order. A token of the second one that has no counterpart stands after the column
 * of the token before it, so that only pairs that cross are out of their order.
 */
export function columnsOf(pairs: Pairs, secondLength: number): Column[] {
  const counterpart = new Map<number, number>();
  pairs.forEach((second, first) => {
    if (second !== null) counterpart.set(second, first);
  });
  // The unmatched tokens of the second prompt, by the token of the first whose column they follow; -1: the start.
  const following = new Map<number, number[]>();
  let column = -1;
  for (let second = 0; second < secondLength; second++) {
    const first = counterpart.get(second);
    if (first !== undefined) column = first;
    else following.set(column, [...(following.get(column) ?? []), second]);
  }
  const alone = (first: number) =>
    (following.get(first) ?? []).map((second): Column => ({ first: null, second }));
  return [...alone(-1), ...pairs.flatMap((second, first): Column[] => [{ first, second }, ...alone(first)])];
}

/** The alignment with these two tokens paired; whatever either was paired with before is left alone. */
export function paired(pairs: Pairs, first: number, second: number): Pairs {
  return pairs.map((old, i) => (i === first ? second : old === second ? null : old));
}

/** The alignment with the pair of this token of the first prompt taken apart. */
export function unpaired(pairs: Pairs, first: number): Pairs {
  return pairs.map((old, i) => (i === first ? null : old));
}

/** `wanted` if it is an alignment of prompts of these lengths, else the automatic one. */
export function usable(wanted: Pairs | null, automatic: Pairs, secondLength: number): Pairs {
  const fits =
    wanted?.length === automatic.length && wanted.every((second) => second === null || second < secondLength);
  return wanted && fits ? wanted : automatic;
}

export function same(one: Pairs, other: Pairs): boolean {
  return one.length === other.length && one.every((second, i) => second === other[i]);
}

export function countPairs(pairs: Pairs): number {
  return pairs.filter((second) => second !== null).length;
}
