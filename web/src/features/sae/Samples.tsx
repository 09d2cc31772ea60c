import { useQueryClient } from "@tanstack/react-query";
import { memo, useCallback, useEffect, useMemo, useState } from "react";
import { reportKey } from "../../api/autoencoders";
import { api } from "../../api/client";
import type { LatentSample, Rating, Report } from "../../api/types";
import { activationTint } from "../../colour/scale";
import { useAsked } from "../../components/asked";
import { Link } from "../../components/Link";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { placeOf, Strip } from "../../components/Strip";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { useKeys } from "../../components/useKeys";
import { amount, percent, signed } from "../../format/number";
import type { Change } from "../../url/address";
import { type ReportView, SHOWN, type Shown } from "../../url/reportView";
import { askedWith, componentAddress } from "../../url/route";

const RATINGS: readonly { value: Rating; key: string; title: string; look: string }[] = [
  { value: "readable", key: "r", title: "One can say what it fires on", look: "border-good! text-good!" },
  {
    value: "unclear",
    key: "u",
    title: "It fires on different things, or one cannot say on what",
    look: "border-ink! text-ink!",
  },
  { value: "dead", key: "d", title: "It fires on nothing, or on noise", look: "border-bad! text-bad!" },
];
/** Excerpts of a latent that are shown at once. */
const FIRST = 3;
const EMPTY: Record<Shown, string> = {
  all: "No latent was drawn: judge with samples to look at some.",
  unrated: "All that were drawn are rated.",
  readable: "None is rated readable.",
  unclear: "None is rated unclear.",
  dead: "None is rated dead.",
};

/** Latents drawn at random with the text they fire on most, for a person to say whether they can be read. */
export function Samples({
  name,
  site,
  report,
  view,
  onChange,
}: {
  name: string;
  /** Where its latents write. */
  site: string;
  report: Report;
  view: ReportView;
  onChange: Change<ReportView>;
}) {
  const client = useQueryClient();
  const asked = useAsked();
  const [failed, setFailed] = useState<Error | null>(null);
  const { samples } = report;
  // What is rated while "unrated" is shown stays until the list is asked for anew: nothing jumps from under the hand.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the ratings of now are those of when the list was chosen
  const listed = useMemo(
    () =>
      samples
        .filter(({ rating }) => view.shown === "all" || (rating ?? "unrated") === view.shown)
        .map(({ index }) => index),
    [view.shown, name, report.seconds],
  );
  const rows = samples.filter(({ index }) => listed.includes(index));
  const at = rows.findIndex(({ index }) => index === view.latent);
  const look = useCallback(
    (row: LatentSample | undefined) => {
      if (row) onChange({ latent: row.index }, "replace");
    },
    [onChange],
  );
  const rate = useCallback(
    (index: number, pressed: Rating) => {
      setFailed(null);
      const key = reportKey(name);
      const put = (to: Rating | null) =>
        client.setQueryData<Report>(
          key,
          (old) =>
            old && {
              ...old,
              samples: old.samples.map((row) => (row.index === index ? { ...row, rating: to } : row)),
            },
        );
      const before = client.getQueryData<Report>(key)?.samples.find((row) => row.index === index)?.rating;
      // The one it has already takes it back.
      const rating = before === pressed ? null : pressed;
      put(rating);
      api.rate(name, index, rating).catch((error: Error) => {
        put(before ?? null);
        setFailed(error);
      });
    },
    [client, name],
  );
  const current = rows[at];
  useKeys(
    useMemo(() => {
      const give = (rating: Rating) => () => {
        if (!current) return look(rows[0]);
        rate(current.index, rating);
        // On to the next one, as one reads down the list.
        look(rows[Math.min(rows.length - 1, at + 1)]);
      };
      return {
        j: () => look(rows[Math.min(rows.length - 1, at + 1)]),
        k: () => look(rows[Math.max(0, at - 1)]),
        r: give("readable"),
        u: give("unclear"),
        d: give("dead"),
      };
    }, [rows, at, current, look, rate]),
  );
  useEffect(() => {
    if (view.latent === null) return;
    document.querySelector(`[data-latent="${view.latent}"]`)?.scrollIntoView({ block: "nearest" });
  }, [view.latent]);
  const n = (rating: Rating | null) => samples.filter((row) => row.rating === rating).length;
  const rated = samples.length - n(null);
  return (
    <Panel
      title="Latents drawn at random"
      actions={
        <>
          <span className="num text-2xs text-ink-3" data-testid="rated" aria-live="polite">
            {rated} of {samples.length} rated
            {rated > 0 && `, ${percent(n("readable") / rated)} of them readable`}
          </span>
          <span className="ml-auto">
            <Segmented<Shown>
              label="Which latents"
              value={view.shown}
              onChange={(shown) => onChange({ shown, latent: null }, "replace")}
              choices={SHOWN.map((value) => ({
                value,
                label: (
                  <>
                    {value}
                    <span className="num pl-1 text-2xs text-ink-3">
                      {value === "all" ? samples.length : n(value === "unrated" ? null : value)}
                    </span>
                  </>
                ),
              }))}
            />
          </span>
        </>
      }
    >
      <p className="px-3 pb-2 text-xs text-ink-2">
        No number tells whether latents mean something: read some. Each shows the text it fires on most.{" "}
        <Key>j</Key> <Key>k</Key> next and previous; <Key>r</Key> readable, <Key>u</Key> unclear, <Key>d</Key>{" "}
        dead. Ratings are kept beside the autoencoder, also when it is judged anew.
      </p>
      {failed && <Notice error={failed} className="mx-3 mb-2" />}
      {rows.length === 0 ? (
        <p className="border-t border-line px-3 py-8 text-center text-xs text-ink-2">{EMPTY[view.shown]}</p>
      ) : (
        <ol aria-label="Latents" className="border-t border-line">
          {rows.map((row) => (
            <Sample
              key={row.index}
              address={componentAddress(`latent.${site}.${row.index}`, askedWith(asked, [name]))}
              sample={row}
              active={row.index === view.latent}
              onRate={rate}
              onLook={() => onChange({ latent: row.index }, "replace")}
            />
          ))}
        </ol>
      )}
    </Panel>
  );
}

function Key({ children }: { children: string }) {
  return (
    <kbd className="rounded border border-line-strong bg-raised px-1 font-mono text-2xs">{children}</kbd>
  );
}

const Sample = memo(function Sample({
  address,
  sample,
  active,
  onRate,
  onLook,
}: {
  /** Of its page. */
  address: string;
  sample: LatentSample;
  active: boolean;
  onRate: (index: number, rating: Rating) => void;
  onLook: () => void;
}) {
  const { index, density, maximum, mean_active, max_cosine, excerpts, rating } = sample;
  const [all, setAll] = useState(false);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: j and k do the same
    <li
      data-latent={index}
      data-rating={rating ?? ""}
      aria-current={active}
      onClick={onLook}
      className={`border-b border-line px-3 py-2 last:border-b-0 ${active ? "bg-raised/60 shadow-[inset_2px_0_0_var(--focus)]" : ""}`}
    >
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 pb-1">
        <Link
          href={address}
          title="Its page: what it does on your prompt, what it pushes"
          className="font-mono text-xs font-semibold underline decoration-line-strong decoration-1 underline-offset-2 hover:decoration-current"
        >
          latent {index}
        </Link>
        <span className="num flex flex-wrap gap-x-3 text-2xs text-ink-3">
          <span title="Share of the tokens read that it fired on">on {percent(density)} of tokens</span>
          <span title="Its largest activation">max {amount(maximum)}</span>
          <span title="Its mean activation where it fires">mean {amount(mean_active)}</span>
          <span title="Cosine of its direction with the nearest other latent’s">
            nearest {signed(max_cosine)}
          </span>
        </span>
        <fieldset className="ml-auto inline-flex gap-1" aria-label={`Rating of latent ${index}`}>
          {RATINGS.map(({ value, key, title, look }) => (
            <button
              key={value}
              type="button"
              aria-pressed={rating === value}
              title={rating === value ? "Takes the rating back" : `${title} (${key})`}
              onClick={(event) => {
                event.stopPropagation();
                onLook();
                onRate(index, value);
              }}
              className={`inline-flex h-6.5 items-center rounded border px-2 text-xs ${
                rating === value
                  ? `${look} bg-raised font-medium`
                  : "border-line bg-panel text-ink-2 hover:border-line-strong hover:text-ink"
              }`}
            >
              {value}
            </button>
          ))}
        </fieldset>
      </div>
      {excerpts.length === 0 ? (
        <p className="text-xs text-ink-3">It fired on none of the tokens that were read.</p>
      ) : (
        <ol className="flex flex-col gap-1">
          {excerpts.slice(0, all ? undefined : FIRST).map((excerpt, i) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: excerpts never move
            <li key={i}>
              <ExcerptText excerpt={excerpt} max={maximum} />
            </li>
          ))}
        </ol>
      )}
      {excerpts.length > FIRST && (
        <button
          type="button"
          aria-expanded={all}
          onClick={() => setAll(!all)}
          className="mt-0.5 ml-14 text-2xs text-ink-3 hover:text-ink hover:underline"
        >
          {all ? "only the strongest" : `${excerpts.length - FIRST} more`}
        </button>
      )}
    </li>
  );
});

function ExcerptText({ excerpt, max }: { excerpt: LatentSample["excerpts"][number]; max: number }) {
  const { texts, activations, at } = excerpt;
  const [tip, setTip] = useState<{ i: number; anchor: DOMRect } | null>(null);
  const background = useCallback((i: number) => activationTint(activations[i] ?? 0, max), [activations, max]);
  return (
    <div
      className="flex gap-2"
      onPointerMove={(event) => setTip(placeOf(event))}
      onPointerLeave={() => setTip(null)}
    >
      <span className="num w-12 shrink-0 text-right text-2xs leading-5 text-ink-3">
        {amount(activations[at])}
      </span>
      <Strip tokens={texts} background={background} marked={at} />
      {tip && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              ["token", <TokenText key="token" text={texts[tip.i] ?? ""} />],
              ["activation", amount(activations[tip.i])],
            ]}
          />
        </Tip>
      )}
    </div>
  );
}
