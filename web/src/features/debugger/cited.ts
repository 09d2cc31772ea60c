/** A piece of an explanation: plain text, or a citation of rows by their numbers. */
export interface Part {
  text: string;
  /** Empty for plain text. */
  rows: readonly number[];
}

/** The text with its citations told apart: [3], [2, 5] and [4-6]. */
export function citedParts(text: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const found of text.matchAll(/\[(\d{1,4}(?:\s*[-–,;]\s*\d{1,4})*)\]/g)) {
    if (found.index > end) parts.push({ text: text.slice(end, found.index), rows: [] });
    parts.push({ text: found[0], rows: numbersIn(found[1] ?? "") });
    end = found.index + found[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), rows: [] });
  return parts;
}

function numbersIn(group: string): number[] {
  return group.split(/[,;]/).flatMap((part) => {
    const [first = 0, last = first] = (part.match(/\d+/g) ?? []).map(Number);
    return Array.from({ length: Math.max(1, last - first + 1) }, (_, i) => first + i);
  });
}

/** A cited row: its number, and its text with the names of nodes told apart. */
export interface Row {
  number: number;
  parts: readonly { text: string; node: boolean }[];
}

const NODE =
  /((?:attn\.\d+\.\d+|neuron\.\d+\.\d+|latent\.[a-z_]+\.\d+\.\d+|error\.[a-z_]+\.\d+|embed)@\d+(?:<-\d+)?)/;

/** A row as the server writes it, such as "[7] it passes on, for D, +0.82 from embed@1". */
export function citedRow(row: string): Row {
  const found = /^\[(\d+)\] /.exec(row);
  return {
    number: Number(found?.[1] ?? 0),
    parts: row
      .slice(found?.[0].length ?? 0)
      .split(NODE)
      .map((text, i) => ({ text, node: i % 2 === 1 }))
      .filter(({ text }) => text !== ""),
  };
}
