/** Readers of what an address may hold; what they cannot make sense of is nothing. */

export function oneOf<T extends string>(names: readonly T[], text: string | null | undefined): T | undefined {
  return names.find((name) => name === text);
}

export function list(text: string | null): string[] {
  return text ? text.split(",") : [];
}

export function whole(text: string | null): number | null {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : null;
}

export function decimal(text: string | null): number | null {
  return text !== null && /^\d{1,3}(\.\d{1,6})?$/.test(text) ? Number(text) : null;
}

export function numbers(text: string | null): number[] {
  return list(text).flatMap((part) => whole(part) ?? []);
}

/**
 * The autoencoders, by name, whose latents an address is about; null: those that the server was started with, which is
 * another thing than none.
 */
export type Chosen = readonly string[] | null;

export function readChosen(params: URLSearchParams): string[] | null {
  return params.has("sae") ? [...new Set(params.getAll("sae").filter(Boolean))] : null;
}

export function writeChosen(params: URLSearchParams, names: Chosen): void {
  if (names?.length === 0) params.set("sae", "");
  for (const name of names ?? []) params.append("sae", name);
}

/** A query string with its "?", or "" when there is nothing to say. */
export function query(params: URLSearchParams): string {
  const text = params.toString();
  return text && `?${text}`;
}
