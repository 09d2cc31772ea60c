import { CopyButton } from "./Button";

/** What does the same in a terminal. */
export function Command({ lead = "Or in a terminal:", text }: { lead?: string; text: string }) {
  return (
    <div className="flex flex-wrap items-center gap-2 text-xs text-ink-2">
      <span>{lead}</span>
      <code className="rounded bg-raised px-1.5 py-0.5 font-mono text-ink">{text}</code>
      <CopyButton text={() => text}>Copy</CopyButton>
    </div>
  );
}
