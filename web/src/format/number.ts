/** U+2212, as wide as the plus sign, so that columns of signed numbers line up. */
const MINUS = "−";

const SUPERFLUOUS = /^([+-]?[\d.]+)e\+?(-?\d+)$/;

/**
 * The one number format of the page: a sign and three significant digits.
 *
 * 6.1234 is "+6.12", -0.04567 is "−0.0457", 1234 is "+1230", 0.000123 is "+1.23e−4", zero is "0" and what is
 * not a number is "–".
 */
export function signed(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const sign = value < 0 ? MINUS : "+";
  return sign + threeDigits(Math.abs(value));
}

/** As `signed`, for what cannot be below zero: it has no sign to show. */
export function amount(value: number | null | undefined): string {
  return signed(value).replace(/^\+/, "");
}

const UNITS = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
] as const;

/** A large count in short, three significant digits at most: "950", "20.5k", "1.5M". */
export function short(value: number): string {
  for (const [unit, letter] of UNITS)
    if (value >= unit * 0.9995) return `${Number((value / unit).toPrecision(3))}${letter}`;
  return String(Number(value.toPrecision(3)));
}

/** A number of bytes, three significant digits at most: "950 B", "1.5 GB". */
export function bytes(value: number): string {
  return `${short(value).replace(/(\D?)$/, " $1")}B`;
}

/** A share between 0 and 1 in percent, three significant digits: "92.1%", "0.0123%". It has no sign to show. */
export function percent(share: number): string {
  return share === 0 ? "0%" : `${threeDigits(share * 100)}%`;
}

/** How much of some work is done, in percent; rounded down to so many parts, since only all of it is 100%. */
export function reached(done: number, total: number, parts = 100): string {
  return percent(Math.floor((parts * Math.min(done, total)) / Math.max(1, total)) / parts);
}

/** A plain count with thin spaces between thousands: "49 152". */
export function count(value: number): string {
  return value.toString().replace(/\B(?=(\d{3})+$)/g, " ");
}

/** Seconds as a person reads them: "84 ms", "1.24 s". */
export function seconds(value: number): string {
  return value < 0.9995 ? `${Math.round(value * 1000)} ms` : `${value.toPrecision(3)} s`;
}

/** A time that is left, as a person says it. */
export function timeLeft(seconds: number): string {
  if (seconds < 1) return "a moment";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function threeDigits(size: number): string {
  if (!Number.isFinite(size)) return "∞";
  const rounded = Number(size.toPrecision(3));
  if (rounded >= 100_000 || rounded < 0.001) {
    const [, digits = "", power = ""] = SUPERFLUOUS.exec(rounded.toExponential(2)) ?? [];
    return `${digits}e${power.replace("-", MINUS)}`;
  }
  return rounded >= 1000 ? rounded.toFixed(0) : size.toPrecision(3);
}
