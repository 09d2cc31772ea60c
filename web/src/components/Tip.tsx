import { type ReactNode, useLayoutEffect, useRef, useState } from "react";
import { createPortal } from "react-dom";

const MARGIN = 8;

/** A small panel beside `anchor` (viewport coordinates), kept inside the window; the pointer goes through it. */
export function Tip({
  anchor,
  wide = false,
  children,
}: {
  anchor: DOMRect;
  wide?: boolean;
  children: ReactNode;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState({ left: 0, top: 0 });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const settle = () => {
      const { width, height } = element.getBoundingClientRect();
      const below = anchor.bottom + MARGIN;
      const fits = below + height < window.innerHeight - MARGIN;
      const centre = anchor.left + anchor.width / 2 - width / 2;
      setPlace({
        left: Math.max(MARGIN, Math.min(centre, window.innerWidth - width - MARGIN)),
        top: fits ? below : Math.max(MARGIN, anchor.top - MARGIN - height),
      });
    };
    settle();
    // What it says may arrive after it has opened.
    const observer = new ResizeObserver(settle);
    observer.observe(element);
    return () => observer.disconnect();
  }, [anchor]);
  return createPortal(
    <div
      ref={box}
      role="tooltip"
      style={place}
      className={`pointer-events-none fixed z-30 ${wide ? "max-w-[calc(100vw-1rem)]" : "max-w-80"} rounded border border-line-strong bg-panel px-2 py-1.5 text-xs shadow-[0_4px_16px_rgb(0_0_0/0.14)]`}
    >
      {children}
    </div>,
    document.body,
  );
}

/** Rows of a name and a value, for tips. */
export function Facts({ rows }: { rows: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="grid grid-cols-[auto_auto] gap-x-3">
      {rows.map(([name, value]) => (
        <div key={name} className="col-span-2 grid grid-cols-subgrid">
          <dt className="text-ink-2">{name}</dt>
          <dd className="num text-right">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
