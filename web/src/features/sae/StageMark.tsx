import type { Training } from "../../api/types";

const DOTS: Record<Training["stage"], string> = {
  running: "bg-active animate-pulse",
  stopped: "bg-ink-3",
  done: "bg-good",
  failed: "bg-bad",
};

/** What a training is doing, in a word. */
export function StageMark({ stage }: { stage: Training["stage"] }) {
  return (
    <span
      data-testid="stage"
      className={`inline-flex items-center gap-1.5 text-xs ${stage === "failed" ? "text-bad" : "text-ink-2"}`}
    >
      <span className={`size-2 rounded-full ${DOTS[stage]}`} aria-hidden="true" />
      {stage}
    </span>
  );
}

/** How far a training is; what is saved is solid, what would be lost is pale. */
export function TrainingBar({ training: { tokens, total, saved, stage } }: { training: Training }) {
  const share = (n: number) => `${(100 * Math.min(n, total)) / Math.max(1, total)}%`;
  return (
    <div
      role="progressbar"
      aria-label="Trained"
      aria-valuemin={0}
      aria-valuemax={total}
      aria-valuenow={Math.min(tokens, total)}
      className="relative h-1.5 overflow-hidden rounded-full bg-raised"
    >
      <div
        className={`absolute inset-y-0 left-0 transition-[width] duration-500 ${stage === "failed" ? "bg-bad/50" : "bg-active/50"}`}
        style={{ width: share(tokens) }}
      />
      <div
        className={`absolute inset-y-0 left-0 transition-[width] duration-500 ${stage === "failed" ? "bg-bad" : "bg-active"}`}
        style={{ width: share(saved) }}
      />
    </div>
  );
}
