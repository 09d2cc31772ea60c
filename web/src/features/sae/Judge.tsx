import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { reportKey, SHELF } from "../../api/autoencoders";
import { autoencoderPath } from "../../api/client";
import { stream } from "../../api/events";
import type { JudgeProgress } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { ProgressBar } from "../../components/ProgressBar";
import { useLongWork } from "../../components/useLongWork";
import { count, timeLeft } from "../../format/number";
import { INPUT } from "./Field";
import { numberOf } from "./plan";

/** Tokens that an autoencoder is judged on unless told otherwise, the fewest and the most. */
const TOKENS = 50_000;
const FEWEST = 1000;
const MOST = 10_000_000;

const STAGES: Record<JudgeProgress["stage"], { words: string; unit: string }> = {
  read: { words: "Reading text", unit: "tokens" },
  activations: { words: "Running the model and the autoencoder", unit: "tokens" },
  losses: { words: "Measuring losses", unit: "tokens" },
  probes: { words: "Probing", unit: "labels" },
};

/** Where an autoencoder is judged: on how much of which text, how far it is, and what went wrong. */
export function Judge({ name, judged, refused }: { name: string; judged: boolean; refused: string | null }) {
  const client = useQueryClient();
  const { running, progress, error, begin, cancel } = useLongWork<JudgeProgress>();
  const [typed, setTyped] = useState("");
  const [corpus, setCorpus] = useState("");
  const tokens = typed.trim() === "" ? TOKENS : numberOf(typed);
  const wrong = tokens === null || !Number.isInteger(tokens) || tokens < FEWEST || tokens > MOST;
  const why = refused ?? (wrong ? `Give a number of tokens from ${count(FEWEST)} to ${count(MOST)}` : null);
  const judge = (tokens: number) =>
    begin(async (tell, signal) => {
      await stream(
        "/api/autoencoders/{name}/report",
        { tokens, corpus: corpus.trim() || null, samples: 20, seed: 1 },
        (event) => {
          if (event.name === "progress") tell(event.data);
          else client.setQueryData(reportKey(name), event.data);
        },
        signal,
        `${autoencoderPath(name)}/report`,
      );
      await client.invalidateQueries({ queryKey: [SHELF, "list"] });
    });
  return (
    <div className="flex flex-col gap-2">
      {running ? (
        <>
          <ProgressBar label="Judging" done={progress?.done ?? null} total={progress?.total ?? 1} />
          <div className="flex min-h-6.5 items-center justify-between gap-3">
            <p className="num text-xs whitespace-normal! text-ink-2" data-testid="judging">
              {progress ? (
                <>
                  {STAGES[progress.stage].words}: {count(progress.done)} of {count(progress.total)}{" "}
                  {STAGES[progress.stage].unit}
                  {progress.seconds_left !== null && `, ${timeLeft(progress.seconds_left)} left`}
                </>
              ) : (
                "Waiting for the model…"
              )}
            </p>
            <Button icon="cross" onClick={cancel} title="Leaving this page cancels it as well">
              Cancel
            </Button>
          </div>
        </>
      ) : (
        <form
          className="flex flex-wrap items-center gap-2"
          onSubmit={(event) => {
            event.preventDefault();
            if (why === null && tokens !== null) judge(tokens);
          }}
        >
          <Button
            type="submit"
            look={judged ? "plain" : "strong"}
            disabled={why !== null}
            title={why ?? "One pass of the model over text that it was not trained on, in another order"}
          >
            {judged ? "Judge anew" : "Judge now"}
          </Button>
          <label className="flex items-center gap-1.5 text-xs text-ink-2">
            on
            <input
              value={typed}
              placeholder={count(TOKENS)}
              inputMode="numeric"
              aria-label="Tokens to judge on"
              aria-invalid={wrong}
              onChange={(event) => setTyped(event.target.value)}
              className={`${INPUT} num w-20! text-right`}
            />
            tokens of
          </label>
          <input
            value={corpus}
            placeholder="Python’s documentation"
            aria-label="Corpus to judge on"
            title="A folder, a file, or a dataset of the hub"
            spellCheck={false}
            autoCapitalize="off"
            onChange={(event) => setCorpus(event.target.value)}
            className={`${INPUT} w-44!`}
          />
        </form>
      )}
      {refused !== null && !running && <p className="text-xs text-ink-2">{refused}</p>}
      {error && <Notice error={error} />}
    </div>
  );
}
