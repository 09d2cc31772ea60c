/**
 * The place of the activation of largest size; null when there is none.
 *
 * The first `skip` tokens are left out where there are others: models put huge activations there whatever the text, and
 * an atlas does not count them.
 */
export function strongestAt(activations: readonly number[], skip: number): number | null {
  let best: number | null = null;
  for (let i = activations.length > skip ? skip : 0; i < activations.length; i++)
    if (best === null || Math.abs(activations[i] as number) > Math.abs(activations[best] as number)) best = i;
  return best;
}

/** Tokens at the beginning that an atlas leaves out, where none says how many. */
export const SKIPPED = 1;
