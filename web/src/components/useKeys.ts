import { useEffect } from "react";

/** Runs an action when its key is pressed outside a text field, with no modifier held. */
export function useKeys(actions: Readonly<Record<string, () => void>>): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const target = event.target as HTMLElement | null;
      if (
        target?.closest(
          "input:not([type=radio], [type=checkbox]), textarea, select, dialog, [contenteditable]",
        )
      )
        return;
      // A group of radio buttons that was reached by keys has the arrows for itself.
      if (event.key.startsWith("Arrow") && target?.matches("input:focus-visible")) return;
      // Enter on a button or link presses it; the table's own Enter is for when nothing has the focus.
      if (event.key === "Enter" && target?.closest("button, a, summary, label, input")) return;
      const action = actions[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [actions]);
}
