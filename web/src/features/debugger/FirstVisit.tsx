import { useState } from "react";
import { Button } from "../../components/Button";
import { recall, remember } from "../../components/storage";

const KEY = "clew.hint";

/** Three sentences for whoever opens the page for the first time. */
export function FirstVisit() {
  const [open, setOpen] = useState(() => recall(KEY) !== "read");
  if (!open) return null;
  const close = () => {
    remember(KEY, "read");
    setOpen(false);
  };
  return (
    <aside
      aria-label="Getting started"
      className="flex items-start gap-2 rounded-md border border-line-strong bg-panel py-2 pr-1.5 pl-3 text-xs text-ink-2"
    >
      <p className="flex-1">
        This page shows why the model prefers one next token, the target, over another, the distractor. Type a
        prompt and pick both from what the model would say next, or click a token to explain the prediction
        after it. Blue pushes towards the target and orange towards the distractor, and all direct effects add
        up to the difference exactly.
      </p>
      <Button look="bare" icon="cross" aria-label="Dismiss" onClick={close} />
    </aside>
  );
}
