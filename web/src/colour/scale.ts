/**
 * How strongly to colour an effect: the sign of `value` and, in [0, 1], log10(1 + 9·|value|/max).
 *
 * Zero stays colourless. The logarithm is that of `activationOpacity`: effects are heavy-tailed and a linear scale
 * would show the largest one only.
 */
export function effectShade(value: number, max: number): number {
  if (!(max > 0) || !Number.isFinite(value)) return 0;
  return Math.sign(value) * Math.log10(1 + 9 * Math.min(1, Math.abs(value) / max));
}

/** The opacity of the emerald behind an activation: 0.05 + 0.95·log10(1 + 9·v/max), so that weak ones stay visible. */
export function activationOpacity(value: number, max: number): number {
  if (!(max > 0) || value === 0) return 0;
  return 0.05 + 0.95 * Math.log10(1 + 9 * Math.min(1, Math.abs(value) / max));
}

/** The background of a cell that holds an effect, mixed so that the number on it stays readable. */
export function effectBackground(value: number, max: number, strength = 0.55): string | undefined {
  const shade = effectShade(value, max);
  if (shade === 0) return undefined;
  const colour = shade > 0 ? "var(--toward)" : "var(--against)";
  return `color-mix(in srgb, ${colour} ${(Math.abs(shade) * strength * 100).toFixed(1)}%, transparent)`;
}

/** The background of a cell that holds an activation. */
export function activationBackground(value: number, max: number, strength = 0.55): string | undefined {
  const opacity = activationOpacity(value, max);
  if (opacity === 0) return undefined;
  return `color-mix(in srgb, var(--active) ${(opacity * strength * 100).toFixed(1)}%, transparent)`;
}

/** How much of an opacity is used behind text, so that the text stays readable on the strongest colour. */
const BEHIND_TEXT = 60;

/** A CSS colour of this opacity in [0, 1], to put behind text. */
export function tint(colour: string, opacity: number): string {
  return `color-mix(in srgb, ${colour} ${(opacity * BEHIND_TEXT).toFixed(1)}%, transparent)`;
}

/** The background of a token with this activation: emerald above zero, orange below. */
export function activationTint(value: number, max: number): string | undefined {
  const opacity = activationOpacity(value, max);
  return opacity === 0 ? undefined : tint(value > 0 ? "var(--active)" : "var(--against)", opacity);
}

/** The largest size in a list; 0 when it is empty. */
export function largest(values: Iterable<number>): number {
  let max = 0;
  for (const value of values) {
    const size = Math.abs(value);
    if (size > max) max = size;
  }
  return max;
}
