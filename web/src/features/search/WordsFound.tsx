import { useState } from "react";
import { api } from "../../api/client";
import { useWordsSearch } from "../../api/explanations";
import { CopyButton } from "../../components/Button";
import { Link } from "../../components/Link";
import { Notice } from "../../components/Notice";
import { Pager } from "../../components/Pager";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { Segmented } from "../../components/Segmented";
import { count } from "../../format/number";
import { EXPLANATIONS } from "../../url/route";
import { PAGE, type SearchView } from "../../url/searchView";
import { ExplainedTable } from "../explain/ExplainedTable";
import type { Ask } from "./Filters";
import { wordsAsked, wordsCsv, wordsPython } from "./words";

/** Rows that an export holds at most: as many as the server gives at once. */
const EXPORTED = 1000;

/** The explanations that say what is looked for; each leads to its component. */
export function WordsFound({
  view,
  model,
  onAsk,
  onPage,
}: {
  view: SearchView;
  model: string;
  onAsk: Ask;
  onPage: (page: number) => void;
}) {
  const asked = wordsAsked(view);
  const found = useWordsSearch({ ...asked, offset: view.page * PAGE, limit: PAGE }, true);
  const [failed, setFailed] = useState<Error | null>(null);
  const total = found.data?.total ?? 0;
  const filtered = view.kinds.length > 0 || view.layers.length > 0 || view.by !== null || view.score !== null;
  const exported =
    total === 0 ? "There is nothing to export" : `The first ${count(Math.min(EXPORTED, total))}`;
  const all = () => api.searchWords({ ...asked, offset: 0, limit: EXPORTED }).then(({ rows }) => rows);
  if (found.error) return <Notice error={found.error} onRetry={() => found.refetch()} />;
  return (
    <Panel
      title="Found"
      actions={
        <>
          <span className="num text-2xs text-ink-3" role="status" data-testid="found-count">
            {found.data && `${count(total)} explanation${total === 1 ? "" : "s"}`}
          </span>
          <Segmented<NonNullable<(typeof asked)["sort"]>>
            label="Order"
            value={asked.sort ?? "relevance"}
            choices={[
              {
                value: "relevance",
                label: "Relevance",
                title: "How well the words fit",
                refused: view.words === "" ? "Without words to look for nothing is more relevant" : null,
              },
              {
                value: "score",
                label: "Score",
                title: "The best score first",
                refused: asked.embed ? "By meaning, what is nearest comes first" : null,
              },
            ]}
            onChange={(sort) => onAsk({ sort }, "replace")}
          />
          <div className="ml-auto flex flex-wrap items-center gap-1.5">
            <CopyButton text={() => wordsPython(model, view)}>Copy as Python</CopyButton>
            <SaveButton
              file="clew-found.csv"
              disabled={total === 0}
              title={exported}
              text={() => all().then(wordsCsv)}
              onFailed={setFailed}
            />
            <SaveButton
              file="clew-found.json"
              disabled={total === 0}
              title={exported}
              text={() => all().then((rows) => JSON.stringify(rows, null, 2))}
              onFailed={setFailed}
            />
          </div>
        </>
      }
    >
      {failed && <Notice error={failed} className="mx-3 mb-2" />}
      {found.data === undefined ? (
        <div role="status" className="border-t border-line p-3">
          <div className="skeleton h-96" />
          <span className="sr-only">Searching</span>
        </div>
      ) : total === 0 ? (
        <p className="border-t border-line px-3 py-10 text-center text-ink-2">
          {view.words === "" && !filtered ? (
            <>
              No component has words yet.{" "}
              <Link href={EXPLANATIONS} className="underline">
                Explain some
              </Link>
            </>
          ) : (
            <>
              No explanation says that.{" "}
              {filtered && (
                <button
                  type="button"
                  className="underline"
                  onClick={() => onAsk({ kinds: [], layers: [], by: null, score: null })}
                >
                  Search among all
                </button>
              )}
            </>
          )}
        </p>
      ) : (
        <div className={found.isPlaceholderData ? "stale" : ""}>
          <ExplainedTable label="Explanations found" rows={found.data.rows} start />
        </div>
      )}
      <Pager page={view.page} size={PAGE} total={total} onPage={onPage} />
    </Panel>
  );
}
