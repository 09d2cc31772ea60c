import type { Ref } from "react";
import { Icon } from "./Icon";

interface Props {
  /** What is filtered, such as "Filter nodes by text". */
  label: string;
  value: string;
  onChange: (value: string) => void;
  /** For the `/` key. */
  finder: Ref<HTMLInputElement>;
  width?: string;
}

/** The field above a table that narrows its rows; Escape empties it, and then leaves it. */
export function FilterField({ label, value, onChange, finder, width = "w-32" }: Props) {
  return (
    <label className="flex h-6.5 items-center gap-1 rounded border border-line bg-page px-1.5 focus-within:outline-2 focus-within:outline-focus">
      <Icon name="search" size={12} className="text-ink-3" />
      <span className="sr-only">{label}</span>
      <input
        ref={finder}
        value={value}
        placeholder="Filter  /"
        spellCheck={false}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          if (value) onChange("");
          else event.currentTarget.blur();
        }}
        className={`${width} bg-transparent text-xs outline-none`}
      />
    </label>
  );
}
