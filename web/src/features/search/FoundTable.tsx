import { useEffect, useMemo, useState } from "react";
import { useOpened } from "../../api/autoencoders";
import { useBest } from "../../api/explanations";
import type { Explanation, Token } from "../../api/types";
import { activationBackground, effectBackground, largest } from "../../colour/scale";
import { useAsked } from "../../components/asked";
import { CopyButton } from "../../components/Button";
import { ComponentLink } from "../../components/ComponentLink";
import { Notice } from "../../components/Notice";
import { Pager } from "../../components/Pager";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { SortHeader } from "../../components/SortHeader";
import { TokenText } from "../../components/TokenText";
import { Trust } from "../../components/Trust";
import { useActiveRow } from "../../components/useActiveRow";
import { useKeys } from "../../components/useKeys";
import { Words } from "../../components/Words";
import { count } from "../../format/number";
import { headlineOf } from "../../format/score";
import { go } from "../../url/address";
import { componentAddress } from "../../url/route";
import { type FiringMode, PAGE, type SearchView } from "../../url/searchView";
import { COLUMNS, type Column, type Found, needsAtlas } from "./columns";
import { type Asking, type Results, search, toCsv, toPython } from "./requests";

/** Rows that an export holds at most: as many as the server gives at once. */
const EXPORTED = 1000;

/** What was found, a page of it at a time; each row leads to its component. */
export function FoundTable({
  asking,
  results,
  stale,
  hasAtlas,
  model,
  onAsk,
  onPage,
}: {
  asking: Asking;
  /** undefined: not here yet. */
  results: Results | undefined;
  /** Whether the results are those of the search before. */
  stale: boolean;
  hasAtlas: boolean;
  model: string;
  onAsk: (part: Partial<SearchView>, how?: "push" | "replace") => void;
  onPage: (page: number) => void;
}) {
  const { view, mode, sort } = asking;
  const asked = useAsked();
  const autoencoders = useOpened();
  const columns = COLUMNS[mode];
  const [failed, setFailed] = useState<Error | null>(null);
  const rows = results?.rows ?? [];
  const words = useBest(useMemo(() => (results?.rows ?? []).map(({ id }) => id), [results]));
  const { active, setActive, move, body } = useActiveRow(rows.length);
  // biome-ignore lint/correctness/useExhaustiveDependencies: other results have another first row
  useEffect(() => setActive(-1), [results, setActive]);

  const open = () => {
    const row = rows[active];
    if (row) {
      go(componentAddress(row.id, asked));
      window.scrollTo(0, 0);
    }
  };
  useKeys({ j: () => move(1), k: () => move(-1), Enter: open, c: open });

  const all = (spell: (found: readonly Found[]) => string) =>
    search(asking, 0, EXPORTED).then(({ rows }) => spell(rows));
  const total = results?.total ?? 0;
  const exported =
    total === 0
      ? "There is nothing to export"
      : `The first ${count(Math.min(EXPORTED, total))} of ${count(total)}, in full precision`;
  return (
    <Panel
      title="Found"
      actions={
        <>
          <span className="num text-2xs text-ink-3" role="status" data-testid="found-count">
            {results && `${count(total)} component${total === 1 ? "" : "s"}`}
          </span>
          <div className="ml-auto flex flex-wrap items-center gap-1.5">
            <CopyButton text={() => toPython(model, asking, autoencoders)}>Copy as Python</CopyButton>
            <SaveButton
              file="clew-components.csv"
              disabled={total === 0}
              title={exported}
              text={() => all((found) => toCsv(mode, found))}
              onFailed={setFailed}
            />
            <SaveButton
              file="clew-components.json"
              disabled={total === 0}
              title={exported}
              text={() => all((found) => JSON.stringify(found, null, 2))}
              onFailed={setFailed}
            />
          </div>
        </>
      }
    >
      {failed && <Notice error={failed} className="mx-3 mb-2" />}
      {mode === "prompt" && !hasAtlas && (
        <p className="border-t border-line px-3 py-1 text-2xs text-ink-3">
          Sorted by activation alone: how unusual one is for its component is known from an atlas, and there
          is none.
        </p>
      )}
      {results === undefined ? (
        <div role="status" className="border-t border-line p-3">
          <div className="skeleton h-96" />
          <span className="sr-only">Searching</span>
        </div>
      ) : total === 0 ? (
        <p className="border-t border-line px-3 py-10 text-center text-ink-2">
          {NOTHING[mode]}{" "}
          {(view.kinds.length > 0 || view.layers.length > 0 || view.density !== null) && (
            <button
              type="button"
              className="underline"
              onClick={() => onAsk({ kinds: [], layers: [], density: null })}
            >
              Search among all
            </button>
          )}
        </p>
      ) : (
        <div className={`overflow-x-auto border-t border-line ${stale ? "stale" : ""}`}>
          <table className="w-full border-collapse text-xs md:[&_th]:w-32" aria-label="Components found">
            <thead>
              <tr className="border-b border-line text-ink-2">
                <th className="sticky left-0 z-[1] bg-panel px-3 text-left font-normal">Component</th>
                {mode === "prompt" && <th className="px-2 text-left font-normal">At</th>}
                {columns.map(({ key, label, title }) => (
                  <SortHeader
                    key={key}
                    label={label}
                    title={title}
                    on={sort === key}
                    ascending={view.ascending}
                    refused={
                      !hasAtlas && needsAtlas(mode, key) ? "It needs an atlas, and there is none." : null
                    }
                    onSort={(ascending) => onAsk({ sort: key, ascending }, "replace")}
                  />
                ))}
                {/* Takes what is left of a wide window, so that numbers stay beside their names. */}
                <th className="px-3 text-left font-normal md:w-auto!">{words.size > 0 && "Explanation"}</th>
              </tr>
            </thead>
            <tbody ref={body}>
              {rows.map((row, i) => (
                <FoundRow
                  key={`${row.id} ${row.position}`}
                  row={row}
                  columns={columns}
                  tokens={mode === "prompt" ? (results.tokens ?? []) : null}
                  maxima={columns.map(({ key }) => largest(rows.map((other) => other[key] ?? 0)))}
                  words={words.get(row.id)}
                  active={i === active}
                  onChoose={() => setActive(i)}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      <Pager page={view.page} size={PAGE} total={total} onPage={onPage} />
    </Panel>
  );
}

const NOTHING: Record<FiringMode, string> = {
  prompt: "No component fires there.",
  token: "No component has a top example on this token.",
  push: "No component pushes this token.",
};

function FoundRow({
  row,
  columns,
  tokens,
  maxima,
  words,
  active,
  onChoose,
}: {
  row: Found;
  columns: readonly Column[];
  /** The prompt's tokens; null: the search was not about one. */
  tokens: readonly Token[] | null;
  /** The largest size in each column of this page. */
  maxima: readonly number[];
  /** Its best explanation; undefined: it has none. */
  words: Explanation | undefined;
  active: boolean;
  onChoose: () => void;
}) {
  return (
    <tr
      aria-selected={active}
      data-component={row.id}
      onClick={onChoose}
      className={`h-6.5 border-b border-line last:border-b-0 hover:bg-raised ${
        active ? "bg-raised shadow-[inset_2px_0_0_var(--focus)]" : "bg-panel"
      }`}
    >
      <td className="sticky left-0 z-[1] bg-inherit px-3">
        <ComponentLink node={row.id} />
      </td>
      {tokens && row.position !== undefined && (
        <td className="max-w-40 truncate px-2">
          <TokenText text={tokens[row.position]?.text ?? ""} />
          <span className="num pl-1.5 text-2xs text-ink-3">{row.position}</span>
        </td>
      )}
      {columns.map(({ key, look, show }, i) => {
        const value = row[key];
        const max = maxima[i] ?? 0;
        return (
          <td
            key={key}
            data-column={key}
            className={`num px-2 text-right ${look === "plain" ? "text-ink-2" : ""}`}
            style={{
              background:
                look === "amount"
                  ? activationBackground(Math.max(0, value ?? 0), max)
                  : look === "effect"
                    ? effectBackground(value ?? 0, max)
                    : undefined,
            }}
          >
            {show(value)}
          </td>
        );
      })}
      <td className="max-w-0 min-w-64 px-3">
        {words && (
          <span className="flex items-baseline gap-2" data-testid="found-words">
            <span className="min-w-0 truncate" title={words.text}>
              <Words text={words.text} />
            </span>
            <Trust score={headlineOf(words)} className="shrink-0 text-2xs" />
          </span>
        )}
      </td>
    </tr>
  );
}
