import { useQueryClient } from "@tanstack/react-query";
import { type RefObject, useEffect, useState } from "react";
import { SHELF } from "../../api/autoencoders";
import { api } from "../../api/client";
import type { Autoencoder } from "../../api/types";
import { useAsked } from "../../components/asked";
import { ButtonLink, CopyButton } from "../../components/Button";
import { FilterField } from "../../components/FilterField";
import { Icon } from "../../components/Icon";
import { Link } from "../../components/Link";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { SortHeader } from "../../components/SortHeader";
import { useActiveRow } from "../../components/useActiveRow";
import { useKeys } from "../../components/useKeys";
import { amount, count, percent, short } from "../../format/number";
import { type Change, go } from "../../url/address";
import { askedWith, autoencoderAddress, debuggerAddress, TRAIN } from "../../url/route";
import type { ShelfColumn, ShelfView } from "../../url/shelfView";
import { Confirm } from "./Confirm";
import { architectureOf, siteOf, toCsv } from "./shelf";

interface Column {
  key: ShelfColumn;
  label: string;
  title: string;
  text: boolean;
  show: (row: Autoencoder) => string;
}

const NAME: Omit<Column, "show"> = {
  key: "name",
  label: "Name",
  title: "Its name on the shelf, or in its training",
  text: true,
};
const COLUMNS: readonly Column[] = [
  {
    key: "site",
    label: "Site",
    title: "The tensor that it reads, and writes if that is another",
    text: true,
    show: siteOf,
  },
  {
    key: "architecture",
    label: "Architecture",
    title: "How it was trained to be sparse",
    text: true,
    show: architectureOf,
  },
  {
    key: "latents",
    label: "Latents",
    title: "How many there are",
    text: false,
    show: ({ latents }) => count(latents),
  },
  {
    key: "tokens",
    label: "Tokens",
    title: "How many it was trained on, as far as its files say",
    text: false,
    show: ({ tokens }) => (tokens === null ? "–" : short(tokens)),
  },
  {
    key: "l0",
    label: "L0",
    title: "Latents that fire on a token; known once it is judged",
    text: false,
    show: ({ l0 }) => amount(l0),
  },
  {
    key: "fvu",
    label: "FVU",
    title: "Share of the variance it does not reconstruct: 0 perfect, 1 the mean; known once it is judged",
    text: false,
    show: ({ fvu }) => amount(fvu),
  },
  {
    key: "ce_recovered",
    label: "CE recovered",
    title: "Of what the model loses without the site: 100% as if untouched; known once it is judged",
    text: false,
    show: ({ ce_recovered }) => (ce_recovered === null ? "–" : percent(ce_recovered)),
  },
];

/** The autoencoders that are here; each row leads to what it is worth. */
export function ShelfTable({
  rows,
  all,
  view,
  model,
  finder,
  added,
  onChange,
}: {
  /** undefined: not here yet. */
  rows: readonly Autoencoder[] | undefined;
  /** How many there are, whatever is looked for. */
  all: number;
  view: ShelfView;
  model: string;
  finder: RefObject<HTMLInputElement | null>;
  /** The one that was added just now. */
  added: string | null;
  onChange: Change<ShelfView>;
}) {
  const client = useQueryClient();
  const asked = useAsked();
  const [failed, setFailed] = useState<Error | null>(null);
  const shown = rows ?? [];
  const { active, setActive, move, body } = useActiveRow(shown.length);
  useEffect(() => {
    const at = added === null || !rows ? -1 : rows.findIndex(({ name }) => name === added);
    if (at >= 0) setActive(at);
  }, [added, rows, setActive]);
  const open = () => {
    const row = shown[active];
    if (!row) return;
    go(autoencoderAddress(row.name));
    window.scrollTo(0, 0);
  };
  useKeys({ j: () => move(1), k: () => move(-1), Enter: open });
  const remove = (name: string) => {
    setFailed(null);
    api
      .removeAutoencoder(name)
      .then(() => client.invalidateQueries({ queryKey: [SHELF] }))
      .catch(setFailed);
  };
  return (
    <Panel
      title="Autoencoders"
      actions={
        <>
          <span className="num text-2xs text-ink-3" role="status">
            {rows && (rows.length === all ? count(all) : `${count(rows.length)} of ${count(all)}`)}
          </span>
          <div className="ml-auto flex flex-wrap items-center gap-1.5">
            <FilterField
              label="Filter autoencoders"
              value={view.find}
              onChange={(find) => onChange({ find }, "replace")}
              finder={finder}
            />
            <CopyButton text={() => LISTED}>Copy as Python</CopyButton>
            <SaveButton file="clew-autoencoders.csv" text={() => toCsv(shown)} />
            <SaveButton file="clew-autoencoders.json" text={() => JSON.stringify(shown, null, 2)} />
            <ButtonLink look="strong" href={TRAIN} title="Choose a site, a size and an architecture (n)">
              Train new
            </ButtonLink>
          </div>
        </>
      }
    >
      {failed && <Notice error={failed} className="mx-3 mb-2" />}
      {rows === undefined ? (
        <div role="status" className="border-t border-line p-3">
          <div className="skeleton h-24" />
          <span className="sr-only">Reading the shelf</span>
        </div>
      ) : rows.length === 0 ? (
        <p className="border-t border-line px-3 py-8 text-center text-xs text-ink-2">
          None here matches “{view.find}”.{" "}
          <button type="button" className="underline" onClick={() => onChange({ find: "" }, "replace")}>
            Show all
          </button>
        </p>
      ) : (
        <div className="relative overflow-x-auto border-t border-line">
          <table className="w-full border-collapse text-xs" aria-label="Autoencoders here">
            <thead>
              <tr className="border-b border-line text-ink-2">
                {[NAME, ...COLUMNS].map(({ key, label, title, text }) => (
                  <SortHeader
                    key={key}
                    label={label}
                    title={title}
                    text={text}
                    first={key === "name"}
                    on={view.sort === key}
                    ascending={view.ascending}
                    onSort={(ascending) => onChange({ sort: key, ascending }, "replace")}
                  />
                ))}
                <th className="px-2 text-left font-normal" title="How its files are laid out">
                  Format
                </th>
                <th
                  className="px-2 text-left font-normal"
                  title="Whether the loaded model has its site, as wide as it"
                >
                  Fits {model}
                </th>
                <th>
                  <span className="sr-only">What can be done</span>
                </th>
              </tr>
            </thead>
            <tbody ref={body}>
              {rows.map((row, i) => (
                <tr
                  key={row.reference}
                  data-autoencoder={row.name}
                  aria-selected={i === active}
                  onClick={() => setActive(i)}
                  className={`h-7.5 border-b border-line last:border-b-0 hover:bg-raised ${
                    i === active ? "bg-raised shadow-[inset_2px_0_0_var(--focus)]" : "bg-panel"
                  }`}
                >
                  <td className="sticky left-0 z-[1] max-w-96 truncate bg-inherit px-3 max-sm:max-w-44">
                    <Link
                      href={autoencoderAddress(row.name)}
                      title={row.name}
                      className="font-mono underline decoration-line-strong decoration-1 underline-offset-2 hover:decoration-current"
                    >
                      {row.name.slice(row.name.indexOf("/") + 1)}
                    </Link>
                    {row.name.includes("/") && (
                      <span className="ml-1.5 text-2xs text-ink-3" title="The training that it came of">
                        {row.name.slice(0, row.name.indexOf("/"))}
                      </span>
                    )}
                    {row.attached && (
                      <span className="ml-1.5 text-2xs text-ink-3" title="Given to clew serve with --sae">
                        attached
                      </span>
                    )}
                  </td>
                  {COLUMNS.map(({ key, text, show }) => (
                    <td
                      key={key}
                      data-column={key}
                      className={`px-2 whitespace-nowrap ${text ? (key === "site" ? "font-mono" : "") : "num text-right"}`}
                    >
                      {show(row)}
                    </td>
                  ))}
                  <td
                    className="px-2 whitespace-nowrap text-ink-2"
                    title={`${row.dtype} in ${row.reference}`}
                  >
                    {row.format}
                  </td>
                  <td className="max-w-72 px-2">
                    {row.fits ? (
                      <span className="inline-flex items-center gap-1 text-good">
                        <Icon name="check" size={12} /> yes
                      </span>
                    ) : (
                      <span className="block truncate text-bad" title={row.problem ?? undefined}>
                        {row.problem ?? "no"}
                      </span>
                    )}
                  </td>
                  <td className="px-3 text-right whitespace-nowrap">
                    <span className="inline-flex items-center gap-1.5">
                      {row.fits && (
                        <ButtonLink
                          href={debuggerAddress(askedWith(asked, [row.name]))}
                          title="Explain a token with its latents in place of what they stand for"
                        >
                          Debug
                        </ButtonLink>
                      )}
                      {!row.judged && row.fits && (
                        <ButtonLink
                          href={autoencoderAddress(row.name)}
                          title="Measure what it is worth, on its page"
                        >
                          Judge…
                        </ButtonLink>
                      )}
                      <Confirm
                        label="Remove"
                        question="Its files go from the shelf."
                        sure="Remove"
                        title={why(row) ?? "Takes it off the shelf"}
                        disabled={why(row) !== null}
                        onSure={() => remove(row.name)}
                      />
                    </span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

/** Why it cannot be taken off the shelf; null when it can. */
function why({ attached, name }: Autoencoder): string | null {
  if (attached) return "It was given with --sae: it is here for as long as this server runs";
  return name.includes("/") ? "It belongs to its training: delete that on its page" : null;
}

const LISTED = `from clew.sae.shelf import listed

print(listed())
`;
