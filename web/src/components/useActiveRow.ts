import { type RefObject, useRef, useState } from "react";

/** The row of a table that keys act on: `move` goes up or down by so many, from before the first one. */
export function useActiveRow(rows: number): {
  active: number;
  setActive: (row: number) => void;
  move: (step: number) => void;
  body: RefObject<HTMLTableSectionElement | null>;
} {
  const [active, setActive] = useState(-1);
  const body = useRef<HTMLTableSectionElement>(null);
  const move = (step: number) => {
    const next = Math.max(0, Math.min(rows - 1, active + step));
    setActive(next);
    body.current?.children[next]?.scrollIntoView({ block: "nearest" });
  };
  return { active, setActive, move, body };
}
