import { useCallback, useMemo, useSyncExternalStore } from "react";
import { readView, type View, writeView } from "./view";

const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("popstate", listener);
  };
}

export type ChangeView = (change: Partial<View>, how?: "push" | "replace") => void;

/**
 * The view in the address bar, and a function that changes part of it.
 *
 * "push" (the default) leaves the old view to the browser's Back; "replace" is for what one would not go back to,
 * such as each letter of a filter.
 */
export function useView(): [View, ChangeView] {
  const search = useSyncExternalStore(subscribe, () => window.location.search);
  const view = useMemo(() => readView(search), [search]);
  const change = useCallback<ChangeView>((part, how = "push") => {
    const next = writeView({ ...readView(window.location.search), ...part });
    if (next === window.location.search) return;
    const url = window.location.pathname + next;
    if (how === "push") window.history.pushState(null, "", url);
    else window.history.replaceState(null, "", url);
    for (const listener of listeners) listener();
  }, []);
  return [view, change];
}
