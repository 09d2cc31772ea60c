import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { SHELF, useTrainings } from "../../api/autoencoders";
import { api } from "../../api/client";
import { Button, CopyButton } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Tick } from "../../components/Tick";
import { useKeys } from "../../components/useKeys";
import { useTitle } from "../../components/useTitle";
import { count, reached, short, timeLeft } from "../../format/number";
import { go, useQueryString } from "../../url/address";
import { AUTOENCODERS } from "../../url/route";
import { readTrainingView, writeTrainingView } from "../../url/trainingView";
import { Confirm } from "./Confirm";
import { DensityMap } from "./DensityMap";
import { LineChart, type Series, Stroke } from "./LineChart";
import { NO_LOG } from "./log";
import { RunTable } from "./RunTable";
import { CHARTS, type ChartInfo, marksOf, runsOf, seriesOf } from "./runs";
import { StageMark, TrainingBar } from "./StageMark";
import { logPython } from "./trainExports";
import { type Followed, useTrainingLogs } from "./useTrainingLogs";

/** One training as it goes, or as it went; others can be drawn beside it. */
export function TrainingPage({ name }: { name: string }) {
  const [view, change] = useQueryString(readTrainingView, writeTrainingView);
  const names = useMemo(() => [name, ...view.beside.filter((other) => other !== name)], [name, view.beside]);
  const { followed, reread } = useTrainingLogs(names);
  const own = followed.get(name);
  const training = own?.training ?? null;
  useTitle(name);
  const runs = useMemo(
    () =>
      runsOf(
        names.flatMap((other) => {
          const { training, log } = followed.get(other) ?? { training: null, log: NO_LOG };
          return training ? [{ name: other, runs: training.runs, log }] : [];
        }),
      ),
    [names, followed],
  );
  const shown = useMemo(() => runs.filter(({ key }) => !view.hidden.includes(key)), [runs, view.hidden]);
  const charts = useMemo(() => CHARTS.map((info) => ({ info, series: seriesOf(info, shown) })), [shown]);
  const marks = useMemo(() => marksOf(shown), [shown]);
  const high = Math.max(1, ...shown.flatMap(({ points }) => points.at(-1)?.tokens ?? 0));
  const domain = useMemo(() => ({ low: 0, high }), [high]);
  const [at, setAt] = useState<number | null>(null);
  const [pointed, setPointed] = useState<string | null>(null);
  const dense = runs.find(({ key }) => key === view.density) ?? shown[0] ?? runs[0];
  useKeys(useMemo(() => ({ l: () => change({ log: !view.log }, "replace") }), [change, view.log]));

  if (!own || (!training && !own.error))
    return (
      <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3">
        <div role="status" className="flex flex-col gap-3">
          <span className="sr-only">Reading the training</span>
          <div className="skeleton h-24" />
          <div className="skeleton h-80" />
        </div>
      </main>
    );
  if (!training)
    return (
      <main className="mx-auto flex max-w-3xl flex-col gap-3 p-3">
        <Notice error={own.error as Error} onRetry={() => reread(name)} />
      </main>
    );
  const several = runs.length > 1;
  return (
    <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3" data-testid="training">
      <Head name={name} followed={own} onReread={() => reread(name)} />
      {names.slice(1).map((other) => {
        const error = followed.get(other)?.error;
        return error && <Notice key={other} error={error} />;
      })}
      <RunTable
        own={name}
        runs={runs}
        trainings={followed}
        hidden={view.hidden}
        actions={
          <Beside
            own={name}
            beside={view.beside}
            onChange={(beside) => change({ beside, hidden: [], density: null })}
          />
        }
        onHidden={(hidden) => change({ hidden }, "replace")}
        onPoint={setPointed}
      />
      <Panel
        title="Curves"
        actions={
          <>
            <span className="num text-2xs text-ink-3">over tokens trained on</span>
            {marks.length > 0 && (
              <span className="text-2xs text-ink-3" data-testid="resampled">
                ▾ dead latents resampled
              </span>
            )}
            <Tick
              label="logarithmic"
              title="Loss, FVU and L0 on a logarithmic axis (l)"
              checked={view.log}
              onChange={(checked) => change({ log: checked }, "replace")}
              className="ml-auto"
            />
          </>
        }
      >
        <div className="grid grid-cols-1 gap-x-5 gap-y-3 px-3 pb-3 sm:grid-cols-2 xl:grid-cols-3">
          {charts.map(({ info, series }) => (
            <div key={info.title} className="min-w-0">
              <LineChart
                title={info.title}
                about={info.about}
                series={series}
                marks={marks}
                pointed={pointed}
                domain={domain}
                log={view.log && info.loggable}
                floor={info.floor}
                show={info.show}
                axis={info.axis}
                nothing={shown.length === 0 ? "All lines are switched off." : info.nothing}
                at={at}
                onAt={setAt}
              />
              <PartsLegend info={info} series={series} colour={several ? "var(--ink-2)" : shown[0]?.colour} />
            </div>
          ))}
        </div>
      </Panel>
      <Panel
        title="How often latents fire"
        actions={
          <>
            <span className="truncate text-2xs text-ink-3 max-md:hidden">
              share of tokens that each latent fired on since the row before, on a logarithmic axis
            </span>
            {several && (
              <select
                aria-label="Densities of"
                value={dense?.key ?? ""}
                onChange={(event) => change({ density: event.target.value }, "replace")}
                className="ml-auto h-6.5 max-w-64 rounded border border-line bg-panel px-1 text-xs text-ink"
              >
                {runs.map(({ key, name: run, training: of }) => (
                  <option key={key} value={key}>
                    {of === name ? run : `${of}: ${run}`}
                  </option>
                ))}
              </select>
            )}
          </>
        }
      >
        <div className="px-3 pb-3">
          <DensityMap points={dense?.points ?? []} domain={domain} at={at} onAt={setAt} />
        </div>
      </Panel>
    </main>
  );
}

/** What the strokes of one autoencoder's lines mean, where it has several. */
function PartsLegend({
  info,
  series,
  colour,
}: {
  info: ChartInfo;
  series: readonly Series[];
  colour: string | undefined;
}) {
  const parts = info.parts.filter(({ key }) => series.some((one) => one.part === key));
  if (parts.length < 2) return null;
  return (
    <p className="flex flex-wrap gap-x-3 pl-10 text-2xs text-ink-3">
      {parts.map(({ key, label, dash }) => (
        <span key={key} className="flex items-center gap-1">
          <Stroke colour={colour ?? "var(--ink-2)"} dash={dash} />
          {label}
        </span>
      ))}
    </p>
  );
}

/** What the training is doing, and what can be done with it. */
function Head({ name, followed, onReread }: { name: string; followed: Followed; onReread: () => void }) {
  const client = useQueryClient();
  const trainings = useTrainings();
  const [working, setWorking] = useState<"stop" | "resume" | "delete" | null>(null);
  const [failed, setFailed] = useState<Error | null>(null);
  const training = followed.training;
  useEffect(() => {
    // A training that ends brings autoencoders, and frees the way for the next.
    if (training?.stage !== "running") client.invalidateQueries({ queryKey: [SHELF] });
  }, [training?.stage, client]);
  if (!training) return null;
  const { stage, model, corpus, total, saved, message } = training;
  const latest = [...followed.log.values()].map((rows) => rows.at(-1)).find(Boolean);
  const running = stage === "running";
  // The log is ahead of the last state that was told.
  const tokens = running ? Math.max(training.tokens, latest?.tokens ?? 0) : training.tokens;
  const busy = trainings.data?.busy ?? null;
  const act = (what: "stop" | "resume" | "delete", work: () => Promise<unknown>, after: () => void) => {
    setWorking(what);
    setFailed(null);
    work()
      .then(after, setFailed)
      .finally(() => setWorking(null));
  };
  return (
    <section aria-label="Training" className="rounded-md border border-line bg-panel px-3 py-2.5">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
        <h1 className="min-w-0 font-mono text-base font-semibold break-all">{name}</h1>
        <StageMark stage={stage} />
        <div className="ml-auto flex flex-wrap items-center gap-1.5">
          {running ? (
            <Button
              icon="cross"
              disabled={working !== null}
              title="Saves what is trained and stops; it can go on later"
              onClick={() =>
                act(
                  "stop",
                  () => api.stopTraining(name),
                  () => undefined,
                )
              }
            >
              {working === "stop" ? "Stopping…" : "Stop"}
            </Button>
          ) : (
            stage !== "done" && (
              <Button
                look="strong"
                disabled={working !== null || busy !== null}
                title={
                  busy !== null
                    ? `${busy} is being trained: one at a time`
                    : `Goes on after the ${count(saved)} tokens that are saved`
                }
                onClick={() => act("resume", () => api.resumeTraining(name), onReread)}
              >
                {working === "resume" ? "Starting…" : "Resume"}
              </Button>
            )
          )}
          <CopyButton text={() => logPython(name)}>Copy as Python</CopyButton>
          <CopyButton text={() => window.location.href}>Copy link</CopyButton>
          <Confirm
            label="Delete"
            question="Its log, checkpoint and autoencoders go too."
            sure="Delete for good"
            title={running ? "Stop it first" : "Removes its folder"}
            disabled={running || working !== null}
            onSure={() =>
              act(
                "delete",
                () => api.removeTraining(name),
                () => {
                  client.invalidateQueries({ queryKey: [SHELF] });
                  go(AUTOENCODERS);
                },
              )
            }
          />
        </div>
      </div>
      <p className="num mt-1.5 text-xs whitespace-normal! text-ink-2" data-testid="trained">
        <span className="text-ink">{count(tokens)}</span> of {count(total)} tokens,{" "}
        {reached(tokens, total, 1000)}
        {latest && running && (
          <>
            {" · "}
            {count(Math.round(latest.tokens_per_s))} tokens/s · {timeLeft(latest.seconds_left)} left
          </>
        )}
        {" · "}
        {short(saved)} saved
        {" · "}
        <span className="font-mono">{model}</span> on {corpus}
      </p>
      <div className="mt-1.5">
        <TrainingBar training={{ ...training, tokens }} />
      </div>
      {running && latest === undefined && (
        <p role="status" className="mt-1.5 text-xs text-ink-2">
          Its process loads the model and reads text; the first row of the log follows the first steps.
        </p>
      )}
      {message && (
        <p
          role={stage === "failed" ? "alert" : "note"}
          className={`mt-1.5 text-xs ${stage === "failed" ? "text-bad" : "text-ink-2"}`}
        >
          {message}
        </p>
      )}
      {followed.error &&
        (followed.reconnecting ? (
          <p role="status" className="mt-1.5 text-xs text-ink-2">
            The connection broke; trying again… What is shown is as of then. The training goes on if its
            process does.
          </p>
        ) : (
          <Notice error={followed.error} className="mt-2">
            <Button onClick={onReread}>Retry</Button>
          </Notice>
        ))}
      {failed && <Notice error={failed} className="mt-2" />}
    </section>
  );
}

/** Which other trainings are drawn beside this one. */
function Beside({
  own,
  beside,
  onChange,
}: {
  own: string;
  beside: readonly string[];
  onChange: (beside: string[]) => void;
}) {
  const trainings = useTrainings();
  const others = (trainings.data?.rows ?? [])
    .map(({ name }) => name)
    .filter((name) => name !== own && !beside.includes(name));
  return (
    <span className="ml-auto flex flex-wrap items-center gap-1.5">
      {beside
        .filter((name) => name !== own)
        .map((name) => (
          <Button
            key={name}
            aria-label={`Take ${name} away`}
            title="Take its lines away"
            onClick={() => onChange(beside.filter((other) => other !== name))}
          >
            <span className="max-w-40 truncate font-mono">{name}</span> ×
          </Button>
        ))}
      <select
        aria-label="Draw another training beside it"
        value=""
        disabled={others.length === 0}
        title={others.length === 0 ? "There is no other training" : "Draws its lines over these"}
        onChange={(event) => onChange([...beside, event.target.value])}
        className="h-6.5 max-w-48 rounded border border-line bg-panel px-1 text-xs text-ink-2 disabled:opacity-50"
      >
        <option value="">Compare with…</option>
        {others.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </span>
  );
}
