import type { ReactNode } from "react";

export interface Choice<T extends string> {
  value: T;
  label: ReactNode;
  title?: string;
  /** Why it cannot be chosen; its title then. */
  refused?: string | null;
}

/** One of a few, side by side: radio buttons drawn as one control. */
export function Segmented<T extends string>({
  label,
  value,
  choices,
  onChange,
}: {
  label: string;
  value: T;
  choices: readonly Choice<T>[];
  onChange: (value: T) => void;
}) {
  return (
    <fieldset className="inline-flex max-w-full min-w-0 shrink-0 overflow-x-auto rounded border border-line bg-raised p-px">
      <legend className="sr-only">{label}</legend>
      {choices.map((choice) => (
        <label
          key={choice.value}
          title={choice.refused ?? choice.title}
          className="flex h-5.5 shrink-0 cursor-pointer whitespace-nowrap has-disabled:cursor-not-allowed has-disabled:opacity-50 items-center rounded-[3px] px-1.5 text-xs max-sm:px-1 text-ink-2 select-none hover:text-ink has-checked:bg-panel has-checked:text-ink has-checked:shadow-[0_0_0_1px_var(--line-strong)] has-focus-visible:outline-2 has-focus-visible:outline-offset-1 has-focus-visible:outline-focus"
        >
          <input
            type="radio"
            name={label}
            checked={choice.value === value}
            disabled={choice.refused != null}
            onChange={() => onChange(choice.value)}
            className="sr-only"
          />
          {choice.label}
        </label>
      ))}
    </fieldset>
  );
}
