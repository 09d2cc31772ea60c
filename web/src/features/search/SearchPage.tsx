import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { ATLAS, useAtlas } from "../../api/atlas";
import { useStatus } from "../../api/queries";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { useKeys } from "../../components/useKeys";
import { useTitle } from "../../components/useTitle";
import { useQueryString } from "../../url/address";
import { PAGE, readSearchView, type SearchView, writeSearchView } from "../../url/searchView";
import { NoAtlas } from "../atlas/NoAtlas";
import { FoundTable } from "./FoundTable";
import { QueryPanel } from "./QueryPanel";
import { askingOf, search } from "./requests";
import { WordsFound } from "./WordsFound";

/** Which components fire on a text, have their examples on a token, push one, or are said to do something. */
export function SearchPage() {
  const [view, change] = useQueryString(readSearchView, writeSearchView);
  const status = useStatus();
  const atlas = useAtlas();
  const info = atlas.data?.atlas ?? null;
  const model = status.data?.model.name ?? "smollm2";
  const example = status.data?.example.prompt;
  const asking = useMemo(() => askingOf(view, example, info !== null), [view, example, info]);
  const found = useQuery({
    queryKey: [ATLAS, "search", asking],
    queryFn: ({ signal }) => search(asking as NonNullable<typeof asking>, view.page * PAGE, PAGE, signal),
    enabled: asking !== null && atlas.data !== undefined,
    placeholderData: keepPreviousData,
  });
  // What another mode found does not belong under these headings.
  const [answered, setAnswered] = useState<SearchView["mode"] | null>(null);
  useEffect(() => {
    if (found.data && !found.isPlaceholderData) setAnswered(view.mode);
  }, [found.data, found.isPlaceholderData, view.mode]);
  const results = asking && answered === view.mode ? found.data : undefined;
  const field = useRef<HTMLTextAreaElement & HTMLInputElement>(null);
  useTitle("Components");
  useKeys(useMemo(() => ({ "/": () => field.current?.focus() }), []));
  /** Another question begins at its first page. */
  const ask = (part: Partial<SearchView>, how: "push" | "replace" = "push") =>
    change({ page: 0, ...part }, how);
  const none = atlas.data !== undefined && info === null && view.mode !== "words";
  return (
    <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3">
      {status.error && <Notice error={status.error} />}
      {atlas.error && (
        <Notice error={atlas.error}>
          <Button onClick={() => atlas.refetch()}>Retry</Button>
        </Notice>
      )}
      <QueryPanel
        view={view}
        example={example}
        model={status.data?.model}
        limits={status.data?.limits}
        working={found.isFetching}
        field={field}
        hasAtlas={!none}
        onAsk={ask}
      />
      {none && (
        <NoAtlas
          what="with one, components can be searched by how unusually they fire, and by the tokens of their best examples."
          problem={atlas.data?.problem ?? null}
        />
      )}
      {view.mode === "words" ? (
        <WordsFound view={view} model={model} onAsk={ask} onPage={(page) => change({ page })} />
      ) : asking === null && view.mode !== "prompt" ? (
        !none || view.mode === "push" ? (
          <Empty>
            {view.mode === "token"
              ? "Type a token to find the components whose top examples are on it."
              : "Type a token to find the components that write it: by their weights alone, whatever they read."}
          </Empty>
        ) : null
      ) : asking === null ? (
        view.prompt === "" && <Empty>Type a text to find the components that fire on it.</Empty>
      ) : found.error && !found.isPlaceholderData ? (
        <Notice error={found.error} onRetry={() => found.refetch()} />
      ) : (
        <FoundTable
          asking={asking}
          results={results}
          stale={found.isPlaceholderData}
          hasAtlas={info !== null}
          model={model}
          onAsk={ask}
          onPage={(page) => change({ page })}
        />
      )}
    </main>
  );
}

function Empty({ children }: { children: string }) {
  return (
    <p className="rounded-md border border-dashed border-line-strong px-4 py-14 text-center text-ink-2">
      {children}
    </p>
  );
}
