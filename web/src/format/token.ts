const VISIBLE: Record<string, string> = {
  " ": "␣",
  "\n": "↵",
  "\r": "␍",
  "\t": "⇥",
  "\u00a0": "⍽",
  "\u200b": "⟨zwsp⟩",
  "\ufeff": "⟨bom⟩",
};

/** A token's text with spaces, newlines and other invisible characters made visible. */
export function visible(text: string): string {
  if (text === "") return "∅";
  return text.replace(/[\s\u200b\ufeff\p{Cc}]/gu, (char) => {
    const shown = VISIBLE[char];
    if (shown) return shown;
    const code = char.codePointAt(0) ?? 0;
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟨${code.toString(16)}⟩`;
  });
}
