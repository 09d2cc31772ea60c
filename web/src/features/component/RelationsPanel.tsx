import { useEffect, useState } from "react";
import { useCofiring, useWeights } from "../../api/atlas";
import type { Relation } from "../../api/types";
import { activationBackground, effectBackground, largest } from "../../colour/scale";
import { ComponentLink } from "../../components/ComponentLink";
import { Lazily } from "../../components/Lazily";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { percent, signed } from "../../format/number";
import { type ComponentKind, kindOf } from "../../url/ids";

const THROUGH: Record<NonNullable<Relation["through"]>, string> = {
  in: "through its input",
  gate: "through the gate",
  up: "through the up branch",
  q: "through the query",
  k: "through the key",
  v: "through the value",
};

/** The components that weights tie to this one, and those that fire where it does. */
export function RelationsPanel({
  id,
  kind,
  hasAtlas,
}: {
  id: string;
  kind: ComponentKind;
  /** Whether the atlas holds this component. */
  hasAtlas: boolean;
}) {
  const { data, error, isPlaceholderData, refetch } = useWeights(id);
  // A latent's number is at the end of its name, which must not be cut off.
  const long = [data?.fed_by, data?.feeds, data?.alike].some((found) =>
    found?.some((relation) => kindOf(relation.id) === "latent"),
  );
  return (
    <Panel title="Related components">
      <div className="flex flex-col gap-3 px-3 pb-3">
        {error ? (
          <Notice error={error} onRetry={() => refetch()} />
        ) : data ? (
          <div
            className={`grid ${long ? "grid-cols-[repeat(auto-fit,minmax(15rem,1fr))]" : "grid-cols-[repeat(auto-fit,minmax(11.5rem,1fr))]"} gap-x-4 gap-y-3 ${isPlaceholderData ? "stale" : ""}`}
          >
            <Relations
              title="Fed by"
              about="Earlier components whose write its input reads most, by weights"
              relations={data.fed_by}
              none="nothing before it"
            />
            <Relations
              title="Feeds"
              about="Later components whose input reads its write most, by weights"
              relations={data.feeds}
              none="nothing after it"
            />
            <Relations
              title="Writes alike"
              about={
                kind === "attn"
                  ? "Components that write to the same directions: cosine of the spaces they write to"
                  : "Components that write in the same direction: cosine of the writes"
              }
              relations={data.alike}
              none="nothing like it"
            />
            <Lazily place="h-50">
              <FiresTogether id={id} hasAtlas={hasAtlas} />
            </Lazily>
          </div>
        ) : (
          <div role="status" className="skeleton h-[848px]">
            <span className="sr-only">Reading the weights</span>
          </div>
        )}
      </div>
    </Panel>
  );
}

function Relations({
  title,
  about,
  relations,
  none,
}: {
  title: string;
  about: string;
  relations: readonly Relation[];
  none: string;
}) {
  const max = largest(relations.map(({ weight }) => weight));
  return (
    <section>
      <h3 className="mb-0.5 text-2xs text-ink-2" title={about}>
        {title}
      </h3>
      {relations.length === 0 && <p className="text-xs text-ink-3">{none}</p>}
      <ol>
        {relations.map(({ id, through, weight }) => (
          <li key={`${id} ${through}`} className="flex h-5 items-center gap-1.5 text-xs">
            <ComponentLink node={id} className="truncate" />
            {through && (
              <span className="text-2xs text-ink-3" title={THROUGH[through]}>
                {through}
              </span>
            )}
            <span
              className="num ml-auto rounded-sm px-1"
              style={{ background: effectBackground(weight, max, 0.4) }}
            >
              {signed(weight)}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function FiresTogether({ id, hasAtlas }: { id: string; hasAtlas: boolean }) {
  // Passing quickly from one to the next asks only about the one where one stays.
  const [settled, setSettled] = useState<string | null>(null);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(id), 200);
    return () => clearTimeout(timer);
  }, [id]);
  const { data, error, isPlaceholderData, refetch } = useCofiring(id, hasAtlas && settled === id);
  const max = largest(data?.rows.map(({ share }) => share) ?? []);
  return (
    <section data-testid="fires-together">
      <h3
        className="mb-0.5 text-2xs text-ink-2"
        title="Components that have their own top examples at the very tokens where this one has its own; the number is the share of this one’s"
      >
        Fires together
      </h3>
      {!hasAtlas ? (
        <p className="text-xs text-ink-3">needs an atlas</p>
      ) : error ? (
        <Notice error={error} onRetry={() => refetch()} />
      ) : data ? (
        <ol className={isPlaceholderData ? "stale" : ""}>
          {data.rows.length === 0 && (
            <li className="text-xs text-ink-3">nothing has its top examples where it has them</li>
          )}
          {data.rows.map((row) => (
            <li key={row.id} className="flex h-5 items-center gap-1.5 text-xs">
              <ComponentLink node={row.id} className="truncate" />
              <span
                className="num ml-auto rounded-sm px-1"
                title={`${row.shared} of its top examples`}
                style={{ background: activationBackground(row.share, max, 0.4) }}
              >
                {percent(row.share)}
              </span>
            </li>
          ))}
        </ol>
      ) : (
        <div role="status" className="skeleton h-40">
          <span className="sr-only">Looking for components that fire with it</span>
        </div>
      )}
    </section>
  );
}
