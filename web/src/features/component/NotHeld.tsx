import { useAtlas } from "../../api/atlas";
import { useAutoencoders } from "../../api/autoencoders";
import type { AtlasInfo } from "../../api/types";
import { Absent } from "../../components/Absent";
import { Button } from "../../components/Button";
import { Command } from "../../components/Command";
import { count } from "../../format/number";
import { kindOf, writtenBy } from "../../url/ids";
import { useChosen } from "../../url/useChosen";
import { useCollecting } from "../atlas/Collecting";
import { CollectionFailure } from "../atlas/CollectionFailure";
import { CollectionProgress } from "../atlas/CollectionProgress";

/** What stands where examples would, of a component that the atlas has not: why, and how it gets there. */
export function NotHeld({ info, id, layer }: { info: AtlasInfo; id: string; layer: number }) {
  return kindOf(id) === "latent" ? (
    <LatentsNotHeld info={info} id={id} />
  ) : (
    <Block info={info} id={id} layer={layer} />
  );
}

function Block({ info, id, layer }: { info: AtlasInfo; id: string; layer: number }) {
  return (
    <section className="rounded-md border border-dashed border-line-strong px-4 py-10 text-center">
      <h2 className="text-sm font-semibold">
        The atlas holds no {kindOf(id) === "attn" ? "heads" : "neurons"} of layer {layer}
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

/** Latents are added to the atlas that is there; only those of another autoencoder at their site have to go first. */
function LatentsNotHeld({ info, id }: { info: AtlasInfo; id: string }) {
  const site = writtenBy(id);
  const chosen = useChosen();
  const shelf = useAutoencoders();
  const atlas = useAtlas();
  const { running, begin } = useCollecting();
  const writers = (shelf.data ?? []).filter((row) => row.fits && row.writes === site);
  const own = writers.find(({ name, attached }) => (chosen === null ? attached : chosen.includes(name)));
  const other = info.autoencoders.find(({ writes }) => writes === site);
  const elsewhere = atlas.data?.collecting === true && !running;
  const reference = (own ?? writers[0])?.reference ?? "NAME";
  const command = `clew collect ${info.model.name} --sae ${reference} --tokens ${info.tokens}${other ? " --replace" : ""}`;
  const collect = (replace: boolean) => begin(info.tokens, replace, own ? [own.name] : []);
  return (
    <Absent
      label="Latents not collected"
      data-testid="latents-not-held"
      title="The atlas has no latents of this autoencoder yet"
      about={
        other
          ? `It has those of another one at ${site}, ${other.name}: choose that one, or collect the atlas anew with these in their place: heads and neurons too.`
          : `Collected, they show which text makes each of them fire most, how often and how strongly. The ${count(info.tokens)} tokens of the atlas are read again; heads and neurons stay as they are.`
      }
    >
      {running ? (
        <CollectionProgress />
      ) : (
        <Button
          className="self-start"
          look="strong"
          disabled={own === undefined || elsewhere}
          title={
            elsewhere
              ? "An atlas is being collected already"
              : own === undefined
                ? "No autoencoder of this site is chosen"
                : other
                  ? `Collects the atlas anew, with the latents of ${own.name}`
                  : `Adds the latents of ${own.name}`
          }
          onClick={() => collect(other !== undefined)}
        >
          Collect them now
        </Button>
      )}
      <CollectionFailure disabled={own === undefined || elsewhere} onReplace={() => collect(true)} />
      <Command text={command} />
    </Absent>
  );
}
