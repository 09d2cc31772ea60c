import type { ReactNode } from "react";

/** What stands where something would be: that it is not there, why, and in `children` how it gets there. */
export function Absent({
  label,
  title,
  about,
  children,
  ...rest
}: {
  label: string;
  title: string;
  about: ReactNode;
  children: ReactNode;
  "data-testid"?: string;
}) {
  return (
    <section
      aria-label={label}
      className="rounded-md border border-dashed border-line-strong bg-panel px-4 py-5"
      {...rest}
    >
      <div className="mx-auto flex max-w-2xl flex-col gap-3">
        <div>
          <h2 className="text-sm font-semibold">{title}</h2>
          <div className="mt-1 text-xs text-ink-2">{about}</div>
        </div>
        {children}
      </div>
    </section>
  );
}
