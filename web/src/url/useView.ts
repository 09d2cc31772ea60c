import { type Change, useQueryString } from "./address";
import { readView, type View, writeView } from "./view";

export type ChangeView = Change<View>;

/** The debugger's view in the address bar, and a function that changes part of it. */
export function useView(): [View, ChangeView] {
  return useQueryString(readView, writeView);
}
