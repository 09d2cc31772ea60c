import { useEffect, useRef, useState } from "react";
import { useDebounced } from "./useDebounced";

/** Milliseconds that typing stands still before it is taken. */
const SETTLED = 300;

/**
 * Text that is being typed: `settle` hears of it once it stands still.
 *
 * Another `outside`, such as a link's or Back's, replaces it.
 */
export function useDraft(
  outside: string,
  settle: (text: string) => void,
): readonly [draft: string, setDraft: (text: string) => void] {
  const [draft, setDraft] = useState(outside);
  const [known, setKnown] = useState(outside);
  if (outside !== known) {
    setKnown(outside);
    setDraft(outside);
  }
  const settled = useDebounced(draft, SETTLED);
  const told = useRef(settle);
  told.current = settle;
  useEffect(() => {
    if (settled === draft && settled !== outside) told.current(settled);
  }, [settled, draft, outside]);
  return [draft, setDraft];
}
