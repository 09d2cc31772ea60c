import { useCallback, useMemo, useSyncExternalStore } from "react";

const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("popstate", listener);
  };
}

/** The path of the address, kept up to date. */
export function usePath(): string {
  return useSyncExternalStore(subscribe, () => window.location.pathname);
}

/** The query string of the address, kept up to date. */
export function useSearch(): string {
  return useSyncExternalStore(subscribe, () => window.location.search);
}

/**
 * Goes to an address within the page, such as /c/neuron.5.200?p=a.
 *
 * "push" (the default) leaves the old address to the browser's Back; "replace" is for what one would not go back to,
 * such as each letter of a filter.
 */
export function go(to: string, how: "push" | "replace" = "push"): void {
  const here = window.location.pathname + window.location.search;
  if (to === here) return;
  if (how === "push") window.history.pushState(null, "", to);
  else window.history.replaceState(null, "", to);
  for (const listener of listeners) listener();
}

export type Change<View> = (change: Partial<View>, how?: "push" | "replace") => void;

/** A page's view as its query string spells it, and a function that changes part of it and stays on the page. */
export function useQueryString<View>(
  read: (search: string) => View,
  write: (view: View) => string,
): [View, Change<View>] {
  const search = useSearch();
  const view = useMemo(() => read(search), [read, search]);
  const change = useCallback<Change<View>>(
    (part, how) => go(window.location.pathname + write({ ...read(window.location.search), ...part }), how),
    [read, write],
  );
  return [view, change];
}
