import type { useTrainings } from "../../api/autoencoders";
import { Link } from "../../components/Link";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { reached, short } from "../../format/number";
import { trainingAddress } from "../../url/route";
import { StageMark, TrainingBar } from "./StageMark";

/** The trainings on this machine, those that run first. */
export function TrainingsPanel({ trainings }: { trainings: ReturnType<typeof useTrainings> }) {
  const { data, error, refetch } = trainings;
  const rows = [...(data?.rows ?? [])].sort(
    (one, other) => Number(other.stage === "running") - Number(one.stage === "running"),
  );
  return (
    <Panel title="Trainings">
      {error && <Notice error={error} className="mx-3 mb-3" onRetry={() => refetch()} />}
      {data === undefined && !error ? (
        <div role="status" className="px-3 pb-3">
          <div className="skeleton h-16" />
          <span className="sr-only">Reading the trainings</span>
        </div>
      ) : rows.length === 0 && !error ? (
        <p className="border-t border-line px-3 py-6 text-center text-xs text-ink-2">
          Nothing was trained here yet. A training that a terminal starts shows up here too.
        </p>
      ) : (
        <ol aria-label="Trainings">
          {rows.map((training) => (
            <li
              key={training.name}
              data-training={training.name}
              className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 gap-y-1 border-t border-line px-3 py-2 sm:grid-cols-[minmax(0,1.4fr)_6rem_minmax(0,1fr)]"
            >
              <div className="min-w-0">
                <Link
                  href={trainingAddress(training.name)}
                  className="font-mono text-xs break-all underline decoration-line-strong decoration-1 underline-offset-2 hover:decoration-current"
                >
                  {training.name}
                </Link>
                <p className="truncate text-2xs text-ink-3" title={training.runs.join(", ")}>
                  {training.runs.length} autoencoder{training.runs.length === 1 ? "" : "s"} of{" "}
                  {training.model}
                </p>
              </div>
              <StageMark stage={training.stage} />
              <div className="flex flex-col gap-1 max-sm:col-span-2">
                <TrainingBar training={training} />
                <p className="num flex justify-between gap-2 text-2xs text-ink-3">
                  <span>
                    {short(training.tokens)} of {short(training.total)} tokens
                  </span>
                  <span>{reached(training.tokens, training.total)}</span>
                </p>
              </div>
              {training.stage === "failed" && (
                <p className="col-span-full text-xs text-bad">{training.message}</p>
              )}
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}
