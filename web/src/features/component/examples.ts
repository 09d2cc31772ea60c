import type { Band, Component, Example } from "../../api/types";
import { percent, signed } from "../../format/number";
import type { Group } from "../../url/componentView";

/** The examples of one group, each list under its heading; bands have one each. */
export interface Section {
  key: string;
  heading: string | null;
  /** What the heading means, in a sentence. */
  about: string | null;
  examples: readonly Example[];
}

export function sectionsOf(component: Component, group: Group): Section[] {
  if (group !== "bands") return [{ key: group, heading: null, about: null, examples: component[group] }];
  return component.bands.map((band, i) => ({
    key: `band ${i}`,
    heading: bandName(band),
    about:
      band.contexts === null
        ? null
        : `${band.contexts} of the atlas’s contexts have their strongest token in this range; these were drawn from them at random`,
    examples: band.examples,
  }));
}

/** A band's range, and which share of contexts scores that high: "+2.00 to +4.00: top 0.300%". */
export function bandName({ low, high, quantile_low, quantile_high }: Band): string {
  const range = rangeName(low, high);
  if (quantile_low === null) return range;
  const [from, to] = [1 - (quantile_high ?? 1), 1 - quantile_low];
  return `${range}: top ${from > 1e-9 ? `${percent(from)} to ` : ""}${percent(to)}`;
}

/** A range whose ends an import may leave open. */
function rangeName(low: number | null, high: number | null): string {
  if (low !== null && high !== null) return `${signed(low)} to ${signed(high)}`;
  if (low !== null) return `from ${signed(low)}`;
  return high === null ? "a quantile" : `below ${signed(high)}`;
}

/** How many examples a group has. */
export function sizeOf(component: Component, group: Group): number {
  return group === "bands"
    ? component.bands.reduce((sum, band) => sum + band.examples.length, 0)
    : component[group].length;
}

/**
 * The text of an example up to and with its strongest token, as one prompt.
 *
 * A character that several tokens share has no text in any of them, so what follows the strongest token is taken off the
 * whole text where that fits, and the tokens are put together only where it does not.
 */
export function upToPeak({ text, tokens, peak }: Pick<Example, "text" | "tokens" | "peak">): string {
  const before = tokens.slice(0, peak + 1).join("");
  if (text.startsWith(before)) return before;
  const after = tokens.slice(peak + 1).join("");
  return text.endsWith(after) ? text.slice(0, text.length - after.length) : before;
}
