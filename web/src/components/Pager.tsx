import { count } from "../format/number";
import { Button } from "./Button";

/** The ways to the page before and after, with what is shown of how many. */
export function Pager({
  page,
  size,
  total,
  onPage,
}: {
  /** Counts from 0. */
  page: number;
  size: number;
  total: number;
  onPage: (page: number) => void;
}) {
  if (total <= size) return null;
  const first = page * size;
  const last = Math.max(0, Math.ceil(total / size) - 1);
  return (
    <nav
      aria-label="Pages of results"
      className="flex items-center justify-end gap-2 border-t border-line px-3 py-1.5 text-xs text-ink-2"
    >
      <span className="num">
        {count(Math.min(first + 1, total))}–{count(Math.min(first + size, total))} of {count(total)}
      </span>
      <Button
        disabled={page === 0}
        title={page === 0 ? "This is the first page" : "The page before"}
        onClick={() => onPage(Math.min(page - 1, last))}
      >
        Previous
      </Button>
      <Button
        disabled={page >= last}
        title={page >= last ? "This is the last page" : "The next page"}
        onClick={() => onPage(page + 1)}
      >
        Next
      </Button>
    </nav>
  );
}
