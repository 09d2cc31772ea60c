/** A column's heading, which sorts by it when pressed, and pressed again the other way. */
export function SortHeader({
  label,
  title,
  on,
  ascending,
  text = false,
  first = false,
  refused = null,
  onSort,
}: {
  label: string;
  title: string;
  /** Whether the table is sorted by it, and which way. */
  on: boolean;
  ascending: boolean;
  /** Names begin at a, numbers at the largest. */
  text?: boolean;
  /** Whether it stays where it is when the table is scrolled sideways. */
  first?: boolean;
  /** Why it cannot be sorted by; null when it can. */
  refused?: string | null;
  onSort: (ascending: boolean) => void;
}) {
  return (
    <th
      aria-sort={on ? (ascending ? "ascending" : "descending") : "none"}
      className={`font-normal ${text ? "text-left" : "text-right"} ${first ? "sticky left-0 z-[1] bg-panel" : ""}`}
    >
      <button
        type="button"
        disabled={refused !== null}
        title={`${title}. ${refused ?? "Click to sort."}`}
        onClick={() => onSort(on ? !ascending : text)}
        className={`h-6.5 whitespace-nowrap enabled:hover:text-ink disabled:cursor-not-allowed disabled:opacity-50 ${first ? "px-3" : "px-2"} ${on ? "font-semibold text-ink" : ""}`}
      >
        {label}
        {on && <span className="pl-1 font-normal">{ascending ? "↑" : "↓"}</span>}
      </button>
    </th>
  );
}
