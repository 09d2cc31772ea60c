import { type InputHTMLAttributes, type ReactNode, type Ref, useId } from "react";

export const INPUT =
  "h-6.5 w-full min-w-0 rounded border border-line-strong bg-page px-1.5 text-xs text-ink aria-invalid:border-bad";

/** A field of a form under its name, with what is wrong with it below. */
export function Field({
  label,
  help,
  problem = null,
  beside,
  field,
  className = "",
  ...rest
}: {
  label: string;
  /** Beside the label, in a few words. */
  help?: string;
  problem?: string | null;
  /** What stands at the right of the field. */
  beside?: ReactNode;
  field?: Ref<HTMLInputElement>;
} & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <div className="min-w-0">
      <div className="mb-0.5 flex h-4 items-baseline gap-1.5 text-xs text-ink-2">
        <label htmlFor={id} className="whitespace-nowrap">
          {label}
        </label>
        {help && (
          <span id={`${id}-help`} className="truncate text-2xs text-ink-3" title={help}>
            {help}
          </span>
        )}
      </div>
      <div className="flex gap-1.5">
        <input
          ref={field}
          id={id}
          spellCheck={false}
          autoCapitalize="off"
          autoComplete="off"
          aria-invalid={problem !== null}
          aria-describedby={help && `${id}-help`}
          className={`${INPUT} ${className}`}
          {...rest}
        />
        {beside}
      </div>
      {problem !== null && (
        <p role="alert" className="mt-0.5 text-2xs text-bad">
          {problem}
        </p>
      )}
    </div>
  );
}
