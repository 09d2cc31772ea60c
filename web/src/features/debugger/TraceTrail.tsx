import { Fragment } from "react";
import type { TraceStep } from "../../api/types";
import { ComponentLink } from "../../components/ComponentLink";
import { Notice } from "../../components/Notice";
import { signed } from "../../format/number";
import { readStep, throughName } from "./trace";

/** The way from D up to what is explained now; each crumb goes back to its step. */
export function TraceTrail({
  trace,
  answered,
  error,
  onTrace,
}: {
  /** The steps as the address has them. */
  trace: readonly string[];
  /** The same steps with their values, once they are answered. */
  answered: readonly TraceStep[];
  error: Error | null;
  onTrace: (trace: string[]) => void;
}) {
  if (trace.length === 0) return null;
  return (
    <nav aria-label="Trace" className="rounded-md border border-line bg-panel px-3 py-2 text-xs">
      <ol className="flex flex-wrap items-center gap-x-1.5 gap-y-1">
        <li>
          <Crumb title="Back to what the answer is about" onClick={() => onTrace([])}>
            <span className="font-semibold">D</span>
          </Crumb>
        </li>
        {trace.map((text, i) => {
          const step = readStep(text);
          const same = answered[i]?.node === step.node && answered[i]?.through === step.through;
          const last = i === trace.length - 1;
          return (
            <Fragment key={trace.slice(0, i + 1).join(" ")}>
              <li aria-hidden="true" className="text-ink-3">
                ›
              </li>
              <li className="flex flex-wrap items-center">
                <ComponentLink node={step.node} />
                <Crumb
                  current={last}
                  title={last ? "This is what is explained" : "Back to this step"}
                  onClick={() => onTrace(trace.slice(0, i + 1))}
                >
                  <span className="sr-only">{step.node} </span>through {throughName(step)}
                  {same && <span className="num text-ink-2"> (S = {signed(answered[i]?.value)})</span>}
                </Crumb>
              </li>
            </Fragment>
          );
        })}
      </ol>
      {error && <Notice error={error} className="mt-1.5" />}
    </nav>
  );
}

function Crumb({
  current = false,
  title,
  onClick,
  children,
}: {
  current?: boolean;
  title: string;
  onClick: () => void;
  children: React.ReactNode;
}) {
  return (
    <button
      type="button"
      title={title}
      aria-current={current ? "step" : undefined}
      onClick={onClick}
      className={`rounded px-1 py-0.5 text-left ${
        current ? "bg-raised text-ink" : "text-ink-2 hover:bg-raised hover:text-ink"
      }`}
    >
      {children}
    </button>
  );
}
