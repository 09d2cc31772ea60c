/** A box to tick, beside what it stands for. */
export function Tick({
  label,
  title,
  checked,
  disabled = false,
  className = "",
  onChange,
}: {
  label: string;
  title: string;
  checked: boolean;
  disabled?: boolean;
  className?: string;
  onChange: (checked: boolean) => void;
}) {
  return (
    <label
      className={`flex items-center gap-1.5 text-xs text-ink-2 has-disabled:opacity-50 ${className}`}
      title={title}
    >
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        onChange={(event) => onChange(event.target.checked)}
      />
      {label}
    </label>
  );
}
