import { useEffect, useMemo, useState } from "react";
import { useOpened } from "../../api/autoencoders";
import { useBest, useExplanations } from "../../api/explanations";
import type { Explanation } from "../../api/types";
import { Button, CopyButton } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { useKeys } from "../../components/useKeys";
import { Words } from "../../components/Words";
import { headlineOf } from "../../format/score";
import type { ComponentView } from "../../url/componentView";
import { kindOf } from "../../url/ids";
import { ExplainForm } from "./ExplainForm";
import { useExplaining } from "./Explaining";
import { ExplainProgressLine } from "./ExplainProgressLine";
import { Facts, History, Problems } from "./History";
import { toPython } from "./request";
import { ScoredTexts } from "./ScoredTexts";
import { ScoreTable } from "./ScoreTable";
import { WriteForm } from "./WriteForm";

type Open = "explain" | "write" | "edit" | null;

/** What a component does in words, how far they can be trusted, and the ways to find, write and score others. */
export function ExplanationsPanel({
  id,
  model,
  refused,
  view,
  onChange,
}: {
  id: string;
  model: string;
  /** Why nothing can be explained or scored here; null when it can. */
  refused: string | null;
  view: Pick<ComponentView, "explanation" | "texts">;
  onChange: (change: Partial<ComponentView>, how?: "push" | "replace") => void;
}) {
  const found = useExplanations(id);
  const best = useBest(useMemo(() => [id], [id])).get(id) ?? null;
  const autoencoders = useOpened();
  const work = useExplaining();
  const [open, setOpen] = useState<Open>(null);
  const rows = found.data?.rows ?? [];
  const shown = shownOf(rows, view.explanation, best?.id ?? null);
  const head = kindOf(id) === "attn";
  const scored = shown && (shown.scores.find(({ scorer }) => scorer === "simulation") ?? headlineOf(shown));
  const toggle = (next: Open) => setOpen(open === next ? null : next);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another component has other words to edit
  useEffect(() => setOpen(null), [id]);
  const show = (explanation: number | null) => onChange({ explanation }, "replace");
  // What was asked for is shown once it is there.
  const latest = work.progress?.latest;
  const arrived = latest?.component === id ? latest.id : null;
  // biome-ignore lint/correctness/useExhaustiveDependencies: it is shown once, when it arrives
  useEffect(() => {
    if (arrived !== null) show(arrived);
  }, [arrived]);
  useKeys(
    useMemo(
      () => ({
        e: () => setOpen("explain"),
        w: () => setOpen(shown ? "edit" : "write"),
        s: () => onChange({ texts: view.texts === "none" ? "all" : "none" }, "replace"),
      }),
      [shown, onChange, view.texts],
    ),
  );
  const concerned = work.asked?.components.includes(id) === true;
  return (
    <Panel
      title="Explanations"
      actions={
        <div className="ml-auto flex flex-wrap items-center gap-1.5">
          <Button
            aria-expanded={open === "explain"}
            title="Have words found for it; the cost is told first (e)"
            onClick={() => toggle("explain")}
          >
            Explain…
          </Button>
          <Button
            aria-expanded={open === "write"}
            title="Words of your own, scored on the spot"
            onClick={() => toggle("write")}
          >
            Write…
          </Button>
          <CopyButton text={() => toPython(model, id, autoencoders)}>Python</CopyButton>
          <SaveButton
            file="clew-explanations.json"
            disabled={rows.length === 0}
            title={
              rows.length === 0 ? "There is nothing to export" : "All explanations of it, with their scores"
            }
            text={() => JSON.stringify(found.data, null, 2)}
          />
        </div>
      }
    >
      {open === "explain" && (
        <div className="px-3 pb-3">
          <ExplainForm components={[id]} model={model} heads={head} refused={refused} />
        </div>
      )}
      {(open === "explain" ? concerned || work.running : concerned && (work.running || work.error)) && (
        <div className="px-3 pb-2.5">
          <ExplainProgressLine />
        </div>
      )}
      {(open === "write" || open === "edit") && (
        <div className="px-3 pb-3">
          <WriteForm
            key={open === "edit" ? shown?.id : "own"}
            id={id}
            head={head}
            from={open === "edit" ? shown : null}
            refused={refused}
            onScored={(explanation) => {
              show(explanation.id);
              setOpen(null);
            }}
            onClose={() => setOpen(null)}
          />
        </div>
      )}
      {found.error ? (
        <Notice error={found.error} onRetry={() => found.refetch()} className="mx-3 mb-3" />
      ) : found.data === undefined ? (
        <div role="status" className="px-3 pb-3">
          <div className="skeleton h-14" />
          <span className="sr-only">Reading the explanations</span>
        </div>
      ) : shown === null ? (
        <Empty
          refused={refused}
          busy={work.running}
          hidden={open !== null}
          onExplain={() => setOpen("explain")}
          onWrite={() => setOpen("write")}
        />
      ) : (
        <div data-testid="explanation" data-shown={shown.id} className="flex flex-col gap-2 px-3 pb-2.5">
          <div className="flex items-start gap-x-3 gap-y-1.5 max-sm:flex-wrap">
            <p
              className="min-w-0 flex-1 text-[15px] max-sm:basis-full leading-[1.45] break-words"
              data-testid="words"
            >
              <Words text={shown.text} />
            </p>
            <Button
              aria-expanded={open === "edit"}
              title="Change the words and have them scored; these stay (w)"
              onClick={() => toggle("edit")}
            >
              Edit and score
            </Button>
          </div>
          <p className="flex flex-wrap gap-x-3 text-2xs text-ink-3">
            <Facts row={shown} />
          </p>
          {shown.node === null && shown.cited.length > 0 && (
            <details className="text-xs text-ink-2">
              <summary>
                Tested on {shown.cited.length} text{shown.cited.length === 1 ? "" : "s"} that the language
                model proposed
              </summary>
              <ul className="list-disc pl-5">
                {shown.cited.map((text) => (
                  <li key={text}>{text}</li>
                ))}
              </ul>
            </details>
          )}
          {shown.scores.length > 0 ? (
            <ScoreTable scores={shown.scores} />
          ) : (
            <p className="text-xs text-ink-2">
              {shown.node === null
                ? "It was not scored: nothing says how far to trust it. “Edit and score” scores it as it is, too."
                : "It speaks of one node in one prompt, which no scorer measures."}
            </p>
          )}
          {scored && (
            <ScoredTexts
              score={scored}
              shown={view.texts}
              onShow={(texts) => onChange({ texts }, "replace")}
            />
          )}
        </div>
      )}
      {rows.length > 1 && <History rows={rows} shown={shown?.id ?? null} onShow={show} />}
      <Problems problems={found.data?.problems ?? []} />
    </Panel>
  );
}

/** The explanation that was asked for, else the best, else the newest. */
function shownOf(
  rows: readonly Explanation[],
  wanted: number | null,
  best: number | null,
): Explanation | null {
  const by = (id: number | null) => (id === null ? undefined : rows.find((row) => row.id === id));
  return by(wanted) ?? by(best) ?? rows[0] ?? null;
}

function Empty({
  refused,
  busy,
  hidden,
  onExplain,
  onWrite,
}: {
  refused: string | null;
  busy: boolean;
  hidden: boolean;
  onExplain: () => void;
  onWrite: () => void;
}) {
  if (busy || hidden) return null;
  return (
    <div
      className="flex flex-wrap items-center gap-x-3 gap-y-1.5 px-3 pb-3 text-xs text-ink-2"
      data-testid="unexplained"
    >
      <p className="min-w-0 flex-1 basis-72">
        {refused ??
          "It has no words yet. The token lookup finds some at once, offline and without any language model; any model behind an OpenAI-compatible address finds better ones, for tokens that are counted first."}
      </p>
      {refused === null && (
        <>
          <Button look="strong" onClick={onExplain}>
            Explain…
          </Button>
          <Button onClick={onWrite}>Write it yourself…</Button>
        </>
      )}
    </div>
  );
}
