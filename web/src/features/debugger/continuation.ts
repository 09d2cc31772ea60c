import type { components } from "../../api/schema";

export type Generated = components["schemas"]["GeneratedToken"];

/** What `sampled` starts with. */
export const TEMPERATURE = 0.8;
export const LENGTHS = [12, 24, 48, 96] as const;

/** The first place where two continuations differ; null while they agree as far as both have come. */
export function firstDifference(one: readonly Generated[], other: readonly Generated[]): number | null {
  const shared = Math.min(one.length, other.length);
  for (let i = 0; i < shared; i++) if (one[i]?.id !== other[i]?.id) return i;
  return null;
}
