import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { ProgressBar } from "../../components/ProgressBar";
import { WorkerNotes } from "../../components/WorkerNotes";
import { count, short, timeLeft } from "../../format/number";
import { useExplaining } from "./Explaining";

/** How far the explaining is that this page began, what came of the last one, and the way to end it. */
export function ExplainProgressLine() {
  const { running, progress, notes, error, cancel } = useExplaining();
  const ended = progress && progress.done + progress.failed;
  if (running)
    return (
      <div className="flex flex-col gap-1.5">
        <ProgressBar
          label="Explaining"
          done={progress?.stage === "explain" ? ended : null}
          total={progress?.total ?? 1}
        />
        <div className="flex min-h-6.5 items-center justify-between gap-3">
          <p className="num text-xs whitespace-normal! text-ink-2" data-testid="explaining">
            {progress === null
              ? "Waiting to begin…"
              : `${progress.stage === "read" ? "Reading examples" : "Explaining"}: ${count(ended ?? 0)} of ${count(progress.total)}`}
            {progress !== null && (
              <>
                {progress.failed > 0 && (
                  <>
                    , <span className="text-bad">{count(progress.failed)} failed</span>
                  </>
                )}
                {askedText(progress)}
                {progress.seconds_left !== null && `, ${timeLeft(progress.seconds_left)} left`}
              </>
            )}
          </p>
          <Button icon="cross" onClick={cancel} title="What is done is kept, and asked for no second time">
            Cancel
          </Button>
        </div>
        <WorkerNotes notes={notes} />
      </div>
    );
  return (
    <>
      {error && <Notice error={error} />}
      {progress && (
        <p className="num text-xs whitespace-normal! text-ink-2" role="status" data-testid="explained">
          {!progress.finished && `Ended before it was done; what was done is kept. `}
          {progress.finished && progress.total === 0
            ? "Nothing was left to do: it is explained and scored in this way already."
            : `${count(progress.done)} explained, ${progress.failed === 0 ? "none failed" : `${count(progress.failed)} failed`}${askedText(progress)}.`}
          {progress.failed > 0 && progress.problem && (
            <span className="text-bad"> {progress.problem.failure.message}</span>
          )}
        </p>
      )}
      <WorkerNotes notes={notes} />
    </>
  );
}

function askedText({
  spent,
}: {
  spent: { requests: number; prompt_tokens: number; completion_tokens: number };
}) {
  return spent.requests === 0
    ? ""
    : `, ${count(spent.requests)} request${spent.requests === 1 ? "" : "s"}, ${short(spent.prompt_tokens + spent.completion_tokens)} tokens`;
}
