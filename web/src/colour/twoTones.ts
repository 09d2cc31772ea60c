import { activationOpacity, largest, tint } from "./scale";

/** How strongly one token is coloured in each of the two colours of attention, both in [0, 1]. */
export interface Tone {
  /** Light blue: it is attended to. */
  to: number;
  /** Pink: it is attended from. */
  from: number;
}

/** Row i holds the value of the pairs i ← j, j from 0 to i: how long a vector token i receives from token j. */
export type PairRows = readonly (readonly number[])[];

/** Nobody points at a token: each is coloured by the largest value out of it and into it, each by its own maximum. */
export function restingTones(attended: readonly number[], activations: readonly number[]): Tone[] {
  const [maxTo, maxFrom] = [largest(attended), largest(activations)];
  return activations.map((value, i) => ({
    to: activationOpacity(attended[i] ?? 0, maxTo),
    from: activationOpacity(value, maxFrom),
  }));
}

/**
 * Somebody points at token `at`.
 *
 * "from": it is light blue by the largest value out of it, and every token i that attends to it is pink by the value
 * i ← at. "to": it is pink by the largest value into it, and every token j that it attends to is light blue by the value
 * at ← j. All by the largest value of any pair, so that colours compare from token to token.
 */
export function pointedTones(pairs: PairRows, at: number, direction: "from" | "to"): Tone[] {
  const max = largest(pairs.flat());
  const shade = (value: number | undefined) => activationOpacity(value ?? 0, max);
  return pairs.map((row, i) => {
    if (direction === "to")
      return {
        to: i <= at ? shade(pairs[at]?.[i]) : 0,
        from: i === at ? shade(largest(row)) : 0,
      };
    return {
      to: i === at ? shade(largest(pairs.map((other) => other[at] ?? 0))) : 0,
      from: i >= at ? shade(row[at]) : 0,
    };
  });
}

/** The background of a token: one colour, or where it has both light blue above pink. */
export function toneBackground({ to, from }: Tone): string | undefined {
  const [above, below] = [tint("var(--attended)", to), tint("var(--attending)", from)];
  if (to === 0) return from === 0 ? undefined : below;
  return from === 0 ? above : `linear-gradient(${above} 50%, ${below} 50%)`;
}
