import { useState } from "react";
import { useAtlas } from "../../api/atlas";
import { useStatus } from "../../api/queries";
import { Absent } from "../../components/Absent";
import { Button } from "../../components/Button";
import { Command } from "../../components/Command";
import { Icon } from "../../components/Icon";
import { count } from "../../format/number";
import { useChosen } from "../../url/useChosen";
import { useCollecting } from "./Collecting";
import { CollectionFailure } from "./CollectionFailure";
import { CollectionProgress } from "./CollectionProgress";

/** Tokens that a collection reads unless told otherwise. */
const TOKENS = 50_000;
const FEWEST = 1;
const MOST = 10_000_000;

/** What stands where an atlas would: what one is, why there is none, and how to make one. */
export function NoAtlas({ what, problem }: { what: string; problem: string | null }) {
  const { running, begin } = useCollecting();
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
    <Absent
      label="No atlas"
      data-testid="no-atlas"
      title={
        problem === null ? "There is no atlas of this model yet" : "The atlas of this model cannot be opened"
      }
      about={
        <>
          {problem !== null && (
            <p role="alert" className="mb-1 flex items-start gap-1.5 text-bad">
              <Icon name="warning" size={13} className="mt-px shrink-0" />
              {problem}
            </p>
          )}
          <p>
            An atlas is what every head, neuron and attached latent does over a corpus, collected in one pass:{" "}
            {what} By default it reads the English documentation that ships with Python, so nothing is
            downloaded.
            {problem !== null && " Collecting anew replaces the one that is there."}
          </p>
        </>
      }
    >
      {running ? (
        <CollectionProgress />
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
      <CollectionFailure disabled={wrong || elsewhere} onReplace={() => begin(tokens, true, among)} />
      <Command lead="Or in a terminal, also from your own text:" text={command} />
    </Absent>
  );
}
