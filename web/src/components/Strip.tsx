import { memo } from "react";
import { TokenText } from "./TokenText";

/** Tokens in a row that wraps, each on its own colour. Each is marked `data-i` with its place, for who points at it. */
export const Strip = memo(function Strip({
  tokens,
  background,
  marked = null,
  clipped = null,
  className = "",
}: {
  tokens: readonly string[];
  background: (i: number) => string | undefined;
  /** The token that stands out. */
  marked?: number | null;
  /** At which ends text was left out. */
  clipped?: { before: boolean; after: boolean } | null;
  className?: string;
}) {
  return (
    <div className={`flex flex-wrap gap-y-0.5 text-xs ${className}`}>
      {clipped?.before && <span className="text-ink-3">…</span>}
      {tokens.map((text, i) => (
        <span
          // biome-ignore lint/suspicious/noArrayIndexKey: a token is its place
          key={i}
          data-i={i}
          style={{ background: background(i) }}
          className={`max-w-full overflow-hidden rounded-[2px] text-ellipsis ${
            i === marked ? "shadow-[inset_0_-1.5px_0_var(--ink)]" : ""
          }`}
        >
          <TokenText text={text} />
        </span>
      ))}
      {clipped?.after && <span className="text-ink-3">…</span>}
    </div>
  );
});

/** The place of the token that an event happened on; null between tokens. */
export function placeOf(event: { target: EventTarget | null }): { i: number; anchor: DOMRect } | null {
  const token = (event.target as HTMLElement | null)?.closest<HTMLElement>("[data-i]");
  return token ? { i: Number(token.dataset.i), anchor: token.getBoundingClientRect() } : null;
}
