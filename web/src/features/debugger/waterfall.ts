import type { LayerEffect } from "../../api/types";

/** One bar of the waterfall: it starts where the one before it ended. */
export interface Step {
  step: string;
  layer: number | null;
  effect: number;
  start: number;
  end: number;
}

export interface Waterfall {
  steps: Step[];
  /** Where the last bar ends: the direction's value, since the direct effects add up to it. */
  end: number;
  /** The range the bars cover, zero included. */
  low: number;
  high: number;
}

export function waterfall(effects: readonly LayerEffect[]): Waterfall {
  let total = 0;
  let low = 0;
  let high = 0;
  const steps = effects.map(({ step, layer, direct_effect }) => {
    const start = total;
    total += direct_effect;
    low = Math.min(low, total);
    high = Math.max(high, total);
    return { step, layer, effect: direct_effect, start, end: total };
  });
  return { steps, end: total, low, high };
}
