import { useAtlas } from "../../api/atlas";
import { useAutoencoders } from "../../api/autoencoders";
import type { AtlasInfo } from "../../api/types";
import { Button, CopyButton } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { count } from "../../format/number";
import { useChosen } from "../../url/useChosen";
import { useCollecting } from "../atlas/Collecting";
import { STAGES, timeLeft } from "../atlas/progress";

/** What stands where examples would, of a component that the atlas has not: why, and how it gets there. */
export function NotHeld({ info, id, layer }: { info: AtlasInfo; id: string; layer: number }) {
  return id.startsWith("latent") ? (
    <LatentsNotHeld info={info} id={id} />
  ) : (
    <Block info={info} id={id} layer={layer} />
  );
}

function Block({ info, id, layer }: { info: AtlasInfo; id: string; layer: number }) {
  return (
    <section className="rounded-md border border-dashed border-line-strong px-4 py-10 text-center">
      <h2 className="text-sm font-semibold">
        The atlas holds no {id.startsWith("attn") ? "heads" : "neurons"} of layer {layer}
      </h2>
      <p className="mx-auto mt-1 max-w-lg text-xs text-ink-2">
        It was made of {info.sites.length} of the model’s blocks. One of all of them is made with{" "}
        <code className="rounded bg-raised px-1 py-0.5 font-mono text-ink">
          clew collect {info.model.name} --replace
        </code>
        .
      </p>
    </section>
  );
}

/** Latents are added to the atlas that is there: heads and neurons stay as they are. */
function LatentsNotHeld({ info, id }: { info: AtlasInfo; id: string }) {
  const site = id.split(".").slice(1, 3).join(".");
  const chosen = useChosen();
  const shelf = useAutoencoders();
  const atlas = useAtlas();
  const { running, progress, error, begin, cancel } = useCollecting();
  const writers = (shelf.data ?? []).filter((row) => row.fits && row.writes === site);
  const own = writers.find(({ name, attached }) => (chosen === null ? attached : chosen.includes(name)));
  const other = info.autoencoders.find(({ writes }) => writes === site);
  const elsewhere = atlas.data?.collecting === true && !running;
  const reference = (own ?? writers[0])?.reference ?? "NAME";
  const command = `clew collect ${info.model.name} --sae ${reference} --tokens ${info.tokens}`;
  return (
    <section
      aria-label="Latents not collected"
      data-testid="latents-not-held"
      className="rounded-md border border-dashed border-line-strong bg-panel px-4 py-5"
    >
      <div className="mx-auto flex max-w-2xl flex-col gap-3">
        <div>
          <h2 className="text-sm font-semibold">The atlas has no latents of this autoencoder yet</h2>
          <p className="mt-1 text-xs text-ink-2">
            {other
              ? `It has those of another one at ${site}, ${other.name}: choose that one, or collect these in their place.`
              : `Collected, they show which text makes each of them fire most, how often and how strongly. The ${count(info.tokens)} tokens of the atlas are read again; heads and neurons stay as they are.`}
          </p>
        </div>
        {running ? (
          <div className="flex min-h-6.5 items-center justify-between gap-3">
            <p className="num text-xs whitespace-normal! text-ink-2" role="status" data-testid="collecting">
              {progress ? (
                <>
                  {STAGES[progress.stage]}: {count(progress.done)} of {count(progress.total)}
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
        ) : (
          <div className="flex flex-wrap items-center gap-2">
            <Button
              look="strong"
              disabled={own === undefined || elsewhere}
              title={
                elsewhere
                  ? "An atlas is being collected already"
                  : own === undefined
                    ? "No autoencoder of this site is chosen"
                    : `Adds the latents of ${own.name}`
              }
              onClick={() => begin(info.tokens, other !== undefined, own ? [own.name] : [])}
            >
              Collect them now
            </Button>
            <span className="text-xs text-ink-2">or in a terminal:</span>
            <code className="rounded bg-raised px-1.5 py-0.5 font-mono text-xs text-ink">{command}</code>
            <CopyButton text={() => command}>Copy</CopyButton>
          </div>
        )}
        {error && <Notice error={error} />}
      </div>
    </section>
  );
}
