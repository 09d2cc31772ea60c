import type { ReactNode } from "react";
import { canRetry, Failure } from "../api/client";
import { Button } from "./Button";
import { Icon } from "./Icon";

/** A failure where it happened: what happened, and what to do about it; `onRetry` is offered where it may help. */
export function Notice({
  error,
  onRetry,
  children,
  className = "",
}: {
  error: Error;
  onRetry?: () => void;
  children?: ReactNode;
  className?: string;
}) {
  const hint = error instanceof Failure ? error.hint : "Reload the page; if it happens again, report it.";
  return (
    <div
      role="alert"
      className={`flex items-start gap-2 rounded border border-bad/40 bg-bad-wash px-2.5 py-1.5 text-xs ${className}`}
    >
      <Icon name="warning" className="mt-px shrink-0 text-bad" />
      <p className="min-w-0 flex-1 break-words">
        <span className="font-medium text-bad">{error.message}</span>
        {hint && <span className="text-ink-2"> {hint}</span>}
      </p>
      {onRetry && canRetry(error) && <Button onClick={onRetry}>Retry</Button>}
      {children}
    </div>
  );
}
