import { useState } from "react";
import { useAtlas } from "../../api/atlas";
import { Failure } from "../../api/client";
import { useStatus } from "../../api/queries";
import { Button, CopyButton } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { Notice } from "../../components/Notice";
import { count } from "../../format/number";
import { useChosen } from "../../url/useChosen";
import { useCollecting } from "./Collecting";
import { STAGES, shareDone, timeLeft } from "./progress";

/** Tokens that a collection reads unless told otherwise. */
const TOKENS = 50_000;
const FEWEST = 1;
const MOST = 10_000_000;
/** What the server answers when something else was collected, or half collected, into the same place. */
const LEFT = ["atlas_exists", "unfinished_atlas"];

/** What stands where an atlas would: what one is, why there is none, and how to make one. */
export function NoAtlas({ what, problem }: { what: string; problem: string | null }) {
  const { running, progress, error, begin, cancel } = useCollecting();
  const among = useChosen();
  const elsewhere = useAtlas().data?.collecting === true && !running;
  const model = useStatus().data?.model.name ?? "smollm2";
  const [typed, setTyped] = useState(String(TOKENS));
  const tokens = Number(typed.replace(/[\s,_.]/g, ""));
  const wrong = !Number.isInteger(tokens) || tokens < FEWEST || tokens > MOST;
  const replaced = problem === null ? "" : " --replace";
  const latents = (among ?? []).map((name) => ` --sae ${name}`).join("");
  const command = `clew collect ${model}${latents} --tokens ${wrong ? TOKENS : tokens}${replaced}`;
  return (
    <section
      aria-label="No atlas"
      className="rounded-md border border-dashed border-line-strong bg-panel px-4 py-5"
      data-testid="no-atlas"
    >
      <div className="mx-auto flex max-w-2xl flex-col gap-3">
        <div>
          <h2 className="text-sm font-semibold">
            {problem === null
              ? "There is no atlas of this model yet"
              : "The atlas of this model cannot be opened"}
          </h2>
          {problem !== null && (
            <p role="alert" className="mt-1 flex items-start gap-1.5 text-xs text-bad">
              <Icon name="warning" size={13} className="mt-px shrink-0" />
              {problem}
            </p>
          )}
          <p className="mt-1 text-xs text-ink-2">
            An atlas is what every head, neuron and attached latent does over a corpus, collected in one pass:{" "}
            {what} By default it reads the English documentation that ships with Python, so nothing is
            downloaded.
            {problem !== null && " Collecting anew replaces the one that is there."}
          </p>
        </div>
        {running ? (
          <div className="flex flex-col gap-1.5">
            <div
              role="progressbar"
              aria-label="Collecting"
              aria-valuemin={0}
              aria-valuemax={100}
              aria-valuenow={progress ? Math.floor(100 * shareDone(progress)) : 0}
              className="h-1.5 overflow-hidden rounded-full bg-raised"
            >
              {progress ? (
                <div
                  className="h-full bg-active transition-[width] duration-300"
                  style={{ width: `${100 * shareDone(progress)}%` }}
                />
              ) : (
                <div className="working h-full" />
              )}
            </div>
            <div className="flex min-h-6.5 items-center justify-between gap-3">
              <p className="num text-xs whitespace-normal! text-ink-2" data-testid="collecting">
                {progress ? (
                  <>
                    {STAGES[progress.stage]}: {count(progress.done)} of {count(progress.total)}{" "}
                    {progress.stage === "merge" ? "components" : "tokens"}
                    {progress.tokens_per_s !== null &&
                      `, ${count(Math.round(progress.tokens_per_s))} tokens/s`}
                    {progress.seconds_left !== null && `, ${timeLeft(progress.seconds_left)} left`}
                  </>
                ) : (
                  "Waiting for the model…"
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
          </div>
        ) : (
          <form
            className="flex flex-wrap items-center gap-x-2 gap-y-1.5"
            onSubmit={(event) => {
              event.preventDefault();
              if (!wrong && !elsewhere) begin(tokens, problem !== null, among);
            }}
          >
            <Button
              type="submit"
              look="strong"
              disabled={wrong || elsewhere}
              title={
                elsewhere
                  ? "An atlas is being collected already"
                  : wrong
                    ? `Give a number of tokens from ${FEWEST} to ${count(MOST)}`
                    : "One pass of the model over the text; it can be cancelled and goes on where it was"
              }
            >
              Collect now
            </Button>
            <label className="flex items-center gap-1.5 text-xs text-ink-2">
              from
              <input
                value={typed}
                inputMode="numeric"
                aria-label="Tokens to collect from"
                aria-invalid={wrong}
                onChange={(event) => setTyped(event.target.value)}
                className="num h-6.5 w-20 rounded border border-line-strong bg-page px-1.5 text-right text-xs text-ink aria-invalid:border-bad"
              />
              tokens
            </label>
            {elsewhere && (
              <p role="status" className="text-xs text-ink-2">
                It is being collected already; this page shows it once it is done.
              </p>
            )}
          </form>
        )}
        {error && <Notice error={error} />}
        {!running && error instanceof Failure && LEFT.includes(error.code) && (
          <Button
            className="self-start"
            disabled={wrong || elsewhere}
            onClick={() => begin(tokens, true, among)}
          >
            Throw it away and collect anew
          </Button>
        )}
        <div className="flex flex-wrap items-center gap-2 text-xs text-ink-2">
          <span>Or in a terminal, also from your own text:</span>
          <code className="rounded bg-raised px-1.5 py-0.5 font-mono text-ink">{command}</code>
          <CopyButton text={() => command}>Copy</CopyButton>
        </div>
      </div>
    </section>
  );
}
