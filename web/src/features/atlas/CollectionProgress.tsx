import { Button } from "../../components/Button";
import { ProgressBar } from "../../components/ProgressBar";
import { WorkerNotes } from "../../components/WorkerNotes";
import { count, timeLeft } from "../../format/number";
import { useCollecting } from "./Collecting";
import { STAGES, shareDone } from "./progress";

/** How far the collection is that this page began, and the way to end it. */
export function CollectionProgress() {
  const { progress, notes, cancel } = useCollecting();
  return (
    <div className="flex flex-col gap-1.5">
      <ProgressBar label="Collecting" done={progress && 100 * shareDone(progress)} total={100} />
      <div className="flex min-h-6.5 items-center justify-between gap-3">
        <p className="num text-xs whitespace-normal! text-ink-2" data-testid="collecting">
          {progress ? (
            <>
              {STAGES[progress.stage]}: {count(progress.done)} of {count(progress.total)}{" "}
              {progress.stage === "merge" ? "components" : "tokens"}
              {progress.tokens_per_s !== null && `, ${count(Math.round(progress.tokens_per_s))} tokens/s`}
              {progress.seconds_left !== null && `, ${timeLeft(progress.seconds_left)} left`}
            </>
          ) : (
            "Waiting to begin…"
          )}
        </p>
        <Button
          icon="cross"
          onClick={cancel}
          title="What is done is kept: the next collection goes on from it"
        >
          Cancel
        </Button>
      </div>
      <WorkerNotes notes={notes} />
    </div>
  );
}
