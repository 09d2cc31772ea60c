import type { Autoencoder } from "../../api/types";
import { Button } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { Link } from "../../components/Link";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { count } from "../../format/number";
import { AUTOENCODERS, autoencoderAddress } from "../../url/route";
import { architectureOf, blockOf, siteOf } from "../sae/shelf";

/** Which autoencoders take a layer apart in this answer: their latents stand in place of its neurons, heads or stream. */
export function LatentsPanel({
  chosen,
  shelf,
  error,
  onChoose,
}: {
  chosen: readonly string[];
  /** undefined: not here yet. */
  shelf: readonly Autoencoder[] | undefined;
  /** Why the ones that are chosen were refused. */
  error: Error | null;
  /** Hears of the new ones, with the sites that their latents write. */
  onChoose: (chosen: string[], sites: string[]) => void;
}) {
  const rows = shelf ?? [];
  const choose = (names: string[]) =>
    onChoose(
      names,
      rows.filter(({ name }) => names.includes(name)).map(({ writes }) => writes),
    );
  const others = rows
    .filter(({ name }) => !chosen.includes(name))
    .map((row) => ({ row, refused: whyNot(row, rows, chosen) }));
  const possible = others.some(({ refused }) => refused === null);
  return (
    <Panel
      title="Latents"
      actions={
        rows.length > 0 && (
          <select
            aria-label="Take a layer apart with"
            value=""
            disabled={!possible}
            title={
              possible
                ? "Its latents, and what it fails to reconstruct, then stand in place of neurons, heads or the stream"
                : others.length
                  ? "None of the others fits beside these"
                  : "All that are here are chosen"
            }
            onChange={(event) => choose([...chosen, event.target.value])}
            className="ml-auto h-6.5 max-w-48 rounded border border-line bg-panel px-1 text-xs text-ink-2 disabled:cursor-not-allowed disabled:opacity-50"
          >
            <option value="">Add an autoencoder…</option>
            {others.map(({ row, refused }) => (
              <option
                key={row.name}
                value={row.name}
                disabled={refused !== null}
                title={refused ?? undefined}
              >
                {`${siteOf(row)} · ${architectureOf(row)} · ${count(row.latents)} latents · ${row.name}${refused === null ? "" : ` (${refused})`}`}
              </option>
            ))}
          </select>
        )
      }
    >
      {chosen.length > 0 && (
        <ul aria-label="Autoencoders of this question" className="border-t border-line">
          {chosen.map((name) => {
            const row = rows.find((one) => one.name === name);
            return (
              <li
                key={name}
                data-autoencoder={name}
                className="flex min-h-7 items-center gap-2 border-b border-line pr-1 pl-3 text-xs last:border-b-0"
              >
                {row && <span className="shrink-0 font-mono font-medium">{siteOf(row)}</span>}
                <Link
                  href={autoencoderAddress(name)}
                  title={`${name}: what it is worth`}
                  className="min-w-0 flex-1 truncate text-ink-2 underline decoration-line-strong underline-offset-2 hover:text-ink"
                >
                  {name.slice(name.indexOf("/") + 1)}
                </Link>
                {row && (
                  <span className="num shrink-0 text-2xs text-ink-3">{count(row.latents)} latents</span>
                )}
                <Button
                  look="bare"
                  aria-label={`Leave out ${name}`}
                  title="The layer as it is again; edits of its latents go too"
                  onClick={() => choose(chosen.filter((other) => other !== name))}
                >
                  <Icon name="cross" size={11} />
                </Button>
              </li>
            );
          })}
        </ul>
      )}
      {chosen.length === 0 && (
        <p className="px-3 pb-2 text-2xs text-ink-3">
          {rows.length > 0 ? (
            "Heads and neurons as they are."
          ) : (
            <>
              Heads and neurons as they are.{" "}
              <Link href={AUTOENCODERS} className="underline hover:text-ink">
                Train or add an autoencoder
              </Link>{" "}
              to see latents in their place.
            </>
          )}
        </p>
      )}
      {error && <Notice error={error} className="mx-3 my-2" />}
    </Panel>
  );
}

/** Why an autoencoder cannot be chosen besides these; null when it can. */
function whyNot(row: Autoencoder, rows: readonly Autoencoder[], chosen: readonly string[]): string | null {
  if (!row.fits) return "does not fit this model";
  const twice = rows.find((one) => chosen.includes(one.name) && blockOf(one.writes) === blockOf(row.writes));
  return twice ? `in place of the same as ${siteOf(twice)}` : null;
}
