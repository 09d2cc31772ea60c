/** A JSON string is a Python string too: both know the same escapes, and JSON uses no other. */
export function pythonText(text: string): string {
  return JSON.stringify(text).replaceAll("\u007f", "\\u007f");
}

/** Arguments of a call; those that are empty are left out. */
export function args(...parts: readonly string[]): string {
  return parts.filter(Boolean).join(", ");
}

export function pythonList(values: readonly (string | number)[]): string {
  return `[${values.join(", ")}]`;
}

/** A named list, or nothing where it is empty. */
export function many(name: string, values: readonly (string | number)[]): string {
  return values.length ? `${name}=${pythonList(values)}` : "";
}

/** A line that opens the components of `model`, with the latents of these autoencoders. */
export function opened(autoencoders: readonly string[]): string {
  return `components = clew.components(${args("model", many("autoencoders", autoencoders.map(pythonText)))})`;
}
