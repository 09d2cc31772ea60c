import { visible } from "../format/token";

/** A token in mono with its spaces and newlines visible; the marks are fainter than the letters. */
export function TokenText({ text, className = "" }: { text: string; className?: string }) {
  const shown = visible(text);
  const lead = /^[␣↵⇥]+/.exec(shown)?.[0] ?? "";
  return (
    <span className={`font-mono whitespace-pre ${className}`}>
      {lead && <span className="opacity-55">{lead}</span>}
      {shown.slice(lead.length)}
    </span>
  );
}
