import { useCallback, useMemo, useRef, useState } from "react";
import { Notice } from "../../components/Notice";
import { useView } from "../../url/useView";
import { filtersOf, questionOf } from "../../url/view";
import { AnswerBar } from "./AnswerBar";
import { CandidateTable } from "./CandidateTable";
import { FirstVisit } from "./FirstVisit";
import { Help } from "./Help";
import { LayerPanel } from "./LayerPanel";
import { NodeTable } from "./NodeTable";
import { QuestionPanel } from "./QuestionPanel";
import { useAnswer, useLens, useNodes, useStatus } from "./queries";
import { TopBar } from "./TopBar";
import { useKeys } from "./useKeys";

/** Why this token? The question on the left, its answer on the right; all of it is in the address bar. */
export function DebuggerPage() {
  const [view, change] = useView();
  const [helping, setHelping] = useState(false);
  const finder = useRef<HTMLInputElement>(null);
  const status = useStatus();
  const question = useMemo(() => questionOf(view, status.data?.example), [view, status.data]);
  const filters = useMemo(() => filtersOf(view), [view]);
  const { shown, stale, working, error, retry } = useAnswer(question);
  const table = useNodes(shown, filters);
  const lens = useLens(shown, view.map === "lens");

  useKeys(
    useMemo(
      () => ({
        "/": () => finder.current?.focus(),
        "?": () => setHelping(true),
      }),
      [],
    ),
  );
  const ask = useCallback(
    (part: Parameters<typeof change>[0]) =>
      // Filters, open rows and the rest belong to the answer that they were chosen in.
      change({ kinds: [], layers: [], positions: [], sources: [], open: [], find: "", ...part }),
    [change],
  );

  return (
    <div className="min-h-dvh">
      <TopBar model={status.data?.model} version={status.data?.version} onHelp={() => setHelping(true)} />
      <main className="mx-auto grid max-w-[1680px] grid-cols-[minmax(0,1fr)] gap-3 p-3 lg:grid-cols-[23rem_minmax(0,1fr)]">
        {status.error && (
          <Notice error={status.error} className="lg:col-span-2">
            <span className="text-ink-2">Trying again…</span>
          </Notice>
        )}
        <div className="flex min-w-0 flex-col gap-3 lg:sticky lg:top-3 lg:self-start">
          <FirstVisit />
          <QuestionPanel
            question={question}
            fromExample={view.prompt === null}
            shown={shown}
            stale={stale}
            working={working}
            error={error}
            strip={view.strip}
            limits={status.data?.limits}
            startToken={status.data?.model.bos ?? null}
            onAsk={ask}
            onStrip={(strip) => change({ strip }, "replace")}
            onRetry={retry}
          />
          <CandidateTable shown={shown} stale={stale} onAsk={ask} />
        </div>
        <div className={`flex min-w-0 flex-col gap-3 ${stale && shown ? "stale" : ""}`} aria-busy={working}>
          {shown && question ? (
            <>
              <AnswerBar shown={shown} view={view} model={status.data?.model} />
              <LayerPanel
                shown={shown}
                lens={lens}
                view={view}
                onMap={(map) => change({ map }, "replace")}
                onCell={(cell) => change({ ...cell, open: [] })}
              />
              <NodeTable shown={shown} table={table} view={view} onChange={change} finder={finder} />
            </>
          ) : error ? (
            <NoAnswer />
          ) : (
            <Waiting />
          )}
        </div>
      </main>
      {helping && <Help onClose={() => setHelping(false)} />}
    </div>
  );
}

/** What stands where an answer would, when the question was refused; the reason is beside the question. */
function NoAnswer() {
  return (
    <p className="rounded-md border border-dashed border-line-strong px-4 py-16 text-center text-ink-2">
      No answer yet. The note in the question says what to change.
    </p>
  );
}

/** The shape of an answer, so that nothing jumps when it comes. */
function Waiting() {
  return (
    <div role="status" aria-label="Waiting for the first answer" className="flex flex-col gap-3">
      {["h-20", "h-[26rem]", "h-72"].map((height) => (
        <div key={height} className={`${height} rounded-md border border-line bg-panel p-3`}>
          <div className="skeleton h-full" />
        </div>
      ))}
    </div>
  );
}
