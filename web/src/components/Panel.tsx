import type { ReactNode } from "react";

/** A titled box; `actions` stand at the right of its title. */
export function Panel({
  title,
  actions,
  children,
  className = "",
}: {
  title: string;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section aria-label={title} className={`rounded-md border border-line bg-panel ${className}`}>
      <div className="flex min-h-9 flex-wrap items-center gap-x-3 gap-y-1 px-3 py-1">
        <h2 className="text-xs font-semibold">{title}</h2>
        {actions}
      </div>
      {children}
    </section>
  );
}
