import { TokenText } from "./TokenText";

/** Words for a component; what they quote is shown as tokens are, so that spaces and newlines are seen. */
export function Words({ text }: { text: string }) {
  return text.split(/("(?:[^"\\]|\\.)+")/).map((part, i) =>
    i % 2 === 1 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: a part is its place
      <span key={i} className="rounded-[3px] bg-raised px-[3px]">
        <TokenText text={quoted(part)} className="text-[0.92em]" />
      </span>
    ) : (
      part
    ),
  );
}

/** What a quotation holds; as it stands where it has escapes that JSON does not know. */
function quoted(part: string): string {
  try {
    return JSON.parse(part);
  } catch {
    return part.slice(1, -1);
  }
}
