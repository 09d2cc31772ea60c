import { useMemo, useRef, useState } from "react";
import { useAutoencoders, useTrainings } from "../../api/autoencoders";
import { useStatus } from "../../api/queries";
import { Absent } from "../../components/Absent";
import { Button, ButtonLink } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { useKeys } from "../../components/useKeys";
import { useTitle } from "../../components/useTitle";
import { go, useQueryString } from "../../url/address";
import { TRAIN } from "../../url/route";
import { readShelfView, writeShelfView } from "../../url/shelfView";
import { AddPanel } from "./AddPanel";
import { ShelfTable } from "./ShelfTable";
import { arranged } from "./shelf";
import { TrainingsPanel } from "./TrainingsPanel";

/** The autoencoders that are here, how more get here, and what is being trained. */
export function AutoencodersPage() {
  const [view, change] = useQueryString(readShelfView, writeShelfView);
  const status = useStatus();
  const shelf = useAutoencoders();
  const trainings = useTrainings();
  const finder = useRef<HTMLInputElement>(null);
  const adder = useRef<HTMLInputElement>(null);
  const [added, setAdded] = useState<string | null>(null);
  useTitle("Autoencoders");
  useKeys(
    useMemo(
      () => ({
        "/": () => finder.current?.focus(),
        n: () => go(TRAIN),
        "+": () => adder.current?.focus(),
      }),
      [],
    ),
  );
  const rows = useMemo(() => (shelf.data ? arranged(shelf.data, view) : undefined), [shelf.data, view]);
  const model = status.data?.model.name ?? "smollm2";
  const none = shelf.data?.length === 0;
  return (
    <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3">
      {status.error && <Notice error={status.error} />}
      {shelf.error && <Notice error={shelf.error} onRetry={() => shelf.refetch()} />}
      {none && (
        <Nothing
          model={model}
          training={(trainings.data?.rows.length ?? 0) > 0}
          onAdd={() => adder.current?.focus()}
        />
      )}
      {!none && (
        <ShelfTable
          rows={rows}
          all={shelf.data?.length ?? 0}
          view={view}
          model={model}
          finder={finder}
          added={added}
          onChange={change}
        />
      )}
      <div className="grid grid-cols-[minmax(0,1fr)] items-start gap-3 lg:grid-cols-[minmax(0,1fr)_27rem]">
        <TrainingsPanel trainings={trainings} />
        <AddPanel field={adder} onAdded={setAdded} />
      </div>
    </main>
  );
}

/** What stands where autoencoders would: what one is, and the ways to get one. */
function Nothing({ model, training, onAdd }: { model: string; training: boolean; onAdd: () => void }) {
  return (
    <Absent
      label="No autoencoder"
      data-testid="no-autoencoder"
      title="There is no autoencoder yet"
      about={
        <>
          A sparse autoencoder rewrites what a layer computes as a sum of a few out of thousands of latents. A
          neuron means many things at once; a latent more often means one. Train one on{" "}
          <span className="font-mono text-ink">{model}</span> here, from the English documentation that ships
          with Python, or add one that others have trained.
          {training && " What is being trained below can be used once it stops."}
        </>
      }
    >
      <div className="flex flex-wrap items-center gap-2">
        <ButtonLink look="strong" href={TRAIN} title="Choose a site, a size and an architecture (n)">
          Train one
        </ButtonLink>
        <Button onClick={onAdd} title="From a folder or the Hugging Face hub (+)">
          Add one
        </Button>
      </div>
    </Absent>
  );
}
