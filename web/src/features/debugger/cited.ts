/** A piece of an explanation: plain text, or the citation of a node's row. */
export interface Part {
  text: string;
  node: string | null;
}

/** The text with its citations told apart: rows by their number, as in [3], and nodes by their name. */
export function citedParts(text: string, cited: readonly string[]): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const found of text.matchAll(/\[([^\]\s]+)\]/g)) {
    const inside = found[1] ?? "";
    const node = cited.find((name) => name === inside || name.replace("<-", "←") === inside) ?? null;
    if (node === null) continue;
    if (found.index > end) parts.push({ text: text.slice(end, found.index), node: null });
    parts.push({ text: inside, node });
    end = found.index + found[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), node: null });
  return parts;
}
