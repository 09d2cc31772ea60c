/** How far long work is; it moves without an end while nothing is known yet. */
export function ProgressBar({
  label,
  done,
  total,
}: {
  label: string;
  /** null: not known yet. */
  done: number | null;
  total: number;
}) {
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={total}
      aria-valuenow={Math.floor(done ?? 0)}
      className="h-1.5 overflow-hidden rounded-full bg-raised"
    >
      {done === null ? (
        <div className="working h-full" />
      ) : (
        <div
          className="h-full bg-active transition-[width] duration-300"
          style={{ width: `${(100 * done) / Math.max(1, total)}%` }}
        />
      )}
    </div>
  );
}
