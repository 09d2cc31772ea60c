import type { ReactNode } from "react";

export const INPUT =
  "h-6.5 w-full min-w-0 rounded border border-line-strong bg-page px-1.5 text-xs text-ink aria-invalid:border-bad";

/** A field of a form under its name, with what is wrong with it below. */
export function Field({
  label,
  help,
  problem = null,
  children,
}: {
  label: string;
  /** Beside the label, in a few words. */
  help?: string;
  problem?: string | null;
  children: ReactNode;
}) {
  return (
    <div className="min-w-0">
      {/* biome-ignore lint/a11y/noLabelWithoutControl: the control is among the children */}
      <label className="block">
        <span className="mb-0.5 flex h-4 items-baseline gap-1.5 text-xs text-ink-2">
          <span className="whitespace-nowrap">{label}</span>
          {help && <span className="truncate text-2xs text-ink-3">{help}</span>}
        </span>
        {children}
      </label>
      {problem !== null && (
        <p role="alert" className="mt-0.5 text-2xs text-bad">
          {problem}
        </p>
      )}
    </div>
  );
}
