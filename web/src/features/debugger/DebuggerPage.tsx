import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useRef, useState } from "react";
import { useAutoencoders } from "../../api/autoencoders";
import { useBest } from "../../api/explanations";
import { useStatus } from "../../api/queries";
import type { Status } from "../../api/types";
import { Notice } from "../../components/Notice";
import { useKeys } from "../../components/useKeys";
import { componentOf } from "../../url/ids";
import { useView } from "../../url/useView";
import { allFilters, filtersOf, questionOf, type View } from "../../url/view";
import { AnswerBar } from "./AnswerBar";
import { CandidateTable } from "./CandidateTable";
import { ContinuationPanel } from "./ContinuationPanel";
import { EditsPanel } from "./EditsPanel";
import { editsWith, everywhere, noVerify, toggledAblations, withEdits } from "./edits";
import { FirstVisit } from "./FirstVisit";
import { placeOf } from "./failures";
import { LatentsPanel } from "./LatentsPanel";
import { LayerPanel } from "./LayerPanel";
import type { Actions } from "./NodeActions";
import { NodeTable } from "./NodeTable";
import { columnsOf, comparedRows, rowsOf } from "./nodeRows";
import { PatternPanel } from "./PatternPanel";
import { QuestionPanel } from "./QuestionPanel";
import { answerTo, type Shown, useAnswer, useCompared, useLens, useNodes } from "./queries";
import { SecondPromptPanel } from "./SecondPromptPanel";
import { SweepPanel } from "./SweepPanel";
import { TraceTrail } from "./TraceTrail";
import { useVerification } from "./useVerification";
import { VERIFIED, VerifyPanel } from "./VerifyPanel";

/** What belongs to the table of one answer, and goes with it. */
const FRESH: Partial<View> = { kinds: [], layers: [], positions: [], sources: [], open: [], find: "" };
/** What was measured is that of one question: another one asks for it anew. */
const UNMEASURED: Partial<View> = { verify: null, measured: [], disagree: false };
/** What belongs to one question. */
const UNASKED: Partial<View> = { ...FRESH, ...UNMEASURED, trace: [] };
const NO_FILTERS = { kinds: [], layers: [], positions: [], sources: [] };

/** Why this token? The question on the left, its answer on the right; all of it is in the address bar. */
export function DebuggerPage() {
  const [view, change] = useView();
  const finder = useRef<HTMLInputElement>(null);
  const answered = useRef<HTMLDivElement>(null);
  const status = useStatus();
  const example = status.data?.example;
  const shelf = useAutoencoders();
  const attached = useMemo(() => {
    // The debugger explains without them too, when the list cannot be had.
    if (shelf.data === undefined) return shelf.error ? [] : undefined;
    return shelf.data.filter((row) => row.attached && row.fits).map(({ name }) => name);
  }, [shelf.data, shelf.error]);
  const question = useMemo(() => questionOf(view, example, attached), [view, example, attached]);
  const answer = useAnswer(question);
  const { shown, stale, working, error, retry } = answer;
  const ask = useAsk(view, example, attached, change);
  const place = placeOf(error, question);
  const [active, setActive] = useState<string | null>(null);

  useKeys(
    useMemo(
      () => ({
        "/": () => finder.current?.focus(),
      }),
      [],
    ),
  );
  const client = useQueryClient();
  const setEdits = useCallback(
    (edits: string[]) => change({ ...UNMEASURED, ...withEdits(view, edits) }),
    [view, change],
  );
  /** Asks first, and changes the stack only if the server takes the edit: a slip of the pen breaks nothing. */
  const addChecked = async (edit: string) => {
    const part = { ...UNMEASURED, ...withEdits(view, [...view.edits, edit]) };
    const asked = questionOf({ ...view, ...part }, example, attached);
    if (asked) await client.fetchQuery(answerTo(asked));
    change(part);
  };

  return (
    <main className="mx-auto grid max-w-[1680px] grid-cols-[minmax(0,1fr)] gap-3 p-3 lg:grid-cols-[23rem_minmax(0,1fr)]">
      {status.error && (
        <Notice error={status.error} className="lg:col-span-2">
          <span className="text-ink-2">Trying again…</span>
        </Notice>
      )}
      <div className="flex min-w-0 flex-col gap-3 lg:sticky lg:top-3 lg:max-h-[calc(100dvh-1.5rem)] lg:self-start lg:overflow-y-auto lg:[&>*]:shrink-0">
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
        {question && (
          <LatentsPanel
            chosen={question.autoencoders}
            shelf={shelf.data}
            error={place === "autoencoders" ? error : null}
            onChoose={(autoencoders, sites) =>
              change({
                ...UNASKED,
                ...withEdits(view, editsWith(view.edits, sites)),
                autoencoders,
              })
            }
          />
        )}
        {question && (
          <SecondPromptPanel question={question} view={view} limits={status.data?.limits} onChange={change} />
        )}
        <EditsPanel
          edits={view.edits}
          hasSecond={view.second !== null}
          suggestion={active?.startsWith("bias") ? null : active}
          error={place === "edits" ? error : null}
          onEdits={setEdits}
          onAdd={addChecked}
        />
        {shown && <Candidates shown={shown} stale={stale} view={view} onAsk={ask} onChange={change} />}
      </div>
      <div
        ref={answered}
        aria-busy={working}
        className={`flex min-w-0 scroll-mt-3 flex-col gap-3 lg:scroll-mt-14 ${stale && shown ? "stale" : ""}`}
      >
        <TraceTrail
          trace={view.trace}
          answered={shown?.answer.trace ?? []}
          error={place === "trace" ? error : null}
          onTrace={(trace) => change({ ...UNASKED, trace })}
        />
        {shown && question ? (
          <Explanation
            shown={shown}
            stale={stale}
            view={view}
            status={status.data}
            active={active}
            finder={finder}
            onActive={setActive}
            onTop={() => answered.current?.scrollIntoView({ block: "start" })}
            onChange={change}
          />
        ) : error ? (
          <NoAnswer />
        ) : (
          <Waiting />
        )}
      </div>
    </main>
  );
}

type Change = ReturnType<typeof useView>[1];

/** Asks another question. What was chosen in the answer before, and what only its prompt has, does not go along. */
function useAsk(
  view: View,
  example: Status["example"] | undefined,
  attached: readonly string[] | undefined,
  change: Change,
) {
  return useCallback(
    (part: Partial<View>) => {
      const before = questionOf(view, example, attached);
      const after = questionOf({ ...view, ...part }, example, attached);
      const moved = before?.prompt !== after?.prompt || before?.bos !== after?.bos;
      const kept = moved
        ? { ...withEdits(view, everywhere(view.edits)), alignment: null, secondAt: null, sweep: false }
        : {};
      change({ ...UNASKED, ...kept, ...part });
    },
    [view, example, attached, change],
  );
}

function Candidates({
  shown,
  stale,
  view,
  onAsk,
  onChange,
}: {
  shown: Shown;
  stale: boolean;
  view: View;
  onAsk: (change: Partial<View>) => void;
  onChange: Change;
}) {
  const compared = useCompared(shown, allFilters(view), comparing(shown, view));
  return (
    <CandidateTable
      shown={shown}
      stale={stale || compared.stale}
      compared={compared.data ?? null}
      against={view.compare}
      onAsk={onAsk}
      onContinue={
        view.generate || shown.question.edits.length > 0 ? null : () => onChange({ generate: true })
      }
    />
  );
}

/** What the tables stand beside, if the question has it. */
function comparing(shown: Shown, view: View): View["compare"] {
  const { edits, second } = shown.question;
  if (view.compare === "edited" && edits.length === 0) return null;
  if (view.compare === "second" && !second) return null;
  return view.compare;
}

/** Everything that an answer shows. */
function Explanation({
  shown,
  stale,
  view,
  status,
  active,
  finder,
  onActive,
  onTop,
  onChange,
}: {
  shown: Shown;
  /** Whether the answer is that to the question before. */
  stale: boolean;
  view: View;
  status: Status | undefined;
  active: string | null;
  finder: React.RefObject<HTMLInputElement | null>;
  onActive: (id: string | null) => void;
  /** Scrolls to where the answer begins. */
  onTop: () => void;
  onChange: Change;
}) {
  const { answer, question } = shown;
  const model = status?.model;
  const goal = answer.trace.length ? "S" : "D";
  const against = comparing(shown, view);
  const table = useNodes(
    shown,
    useMemo(() => filtersOf(view), [view]),
  );
  const compared = useCompared(shown, allFilters(view), against);
  const lens = useLens(shown, view.map === "lens");
  const verification = useVerification(stale ? null : question, {
    top: view.verify,
    nodes: view.measured.filter((id) => noVerify(id, view.ablation) === null),
    ablation: view.ablation,
    renormalise: view.renormalise,
  });
  const { rows: measured, waiting, run } = verification;
  const [count, setCount] = useState(view.verify ?? VERIFIED);
  const pattern = useRef<HTMLDivElement>(null);

  const { kinds, layers, positions, sources } = view;
  const changes = against === null ? null : (compared.data?.comparison.nodes ?? null);
  const rows = useMemo(() => {
    if (changes && against)
      return comparedRows(changes, against, measured, { kinds, layers, positions, sources });
    return rowsOf(table.nodes ?? answer.nodes, measured, { kinds, layers, positions, sources });
  }, [changes, against, table.nodes, answer.nodes, measured, kinds, layers, positions, sources]);
  const words = useBest(
    useMemo(() => rows.flatMap(({ id }) => componentOf(id) ?? []), [rows]),
    question.autoencoders,
  );
  const verifiedRows = useMemo(() => rowsOf([...measured.values()], measured, NO_FILTERS), [measured]);
  const answerRows = useMemo(() => rowsOf(answer.nodes, measured, NO_FILTERS), [answer.nodes, measured]);
  const verifying = measured.size > 0 || run !== null || waiting.size > 0;
  const columns = useMemo(
    () => columnsOf(goal, changes ? against : null, verifying),
    [goal, changes, against, verifying],
  );
  const verifyTop = () => {
    // A run that failed is asked for already: it is begun again.
    if (view.verify === count) verification.retry();
    else onChange({ verify: count }, "replace");
  };
  const actions: Actions = {
    ablate: (ids) => onChange({ ...UNMEASURED, ...withEdits(view, toggledAblations(view.edits, ids)) }),
    addEdit: (edit) => onChange({ ...UNMEASURED, ...withEdits(view, [...view.edits, edit]) }),
    trace: (step, of) => {
      onActive(null);
      onTop();
      onChange({ ...UNASKED, trace: [...(of === null ? [] : view.trace.slice(0, of + 1)), step] });
    },
    verify: (ids) => onChange({ measured: [...new Set([...view.measured, ...ids])] }, "replace"),
    verifyTop,
    openHead: (head) => {
      onChange({ head }, "replace");
      requestAnimationFrame(() => pattern.current?.scrollIntoView({ block: "nearest", behavior: "smooth" }));
    },
  };
  const last = view.trace.length - 1;

  return (
    <>
      <AnswerBar
        shown={shown}
        rows={answerRows}
        compared={against && !compared.stale ? (compared.data ?? null) : null}
        comparing={compared.working}
        view={view}
        model={model}
        onCompare={(compare) => onChange({ compare })}
      />
      {compared.error && <Notice error={compared.error} onRetry={() => compared.retry()} />}
      {(view.generate || question.edits.length > 0) && (
        <ContinuationPanel
          question={question}
          on={view.generate}
          sampling={view.sampling}
          onShow={(generate) => onChange({ generate }, "replace")}
          onSampling={(sampling) => onChange({ sampling }, "replace")}
        />
      )}
      <LayerPanel
        shown={shown}
        lens={lens}
        view={view}
        onMap={(map) => onChange({ map }, "replace")}
        onCell={(cell) => onChange({ ...cell, open: [] })}
        onAblate={actions.ablate}
      />
      {view.second !== null && (
        <SweepPanel
          question={question}
          tokens={answer.tokens}
          nLayers={answer.model.n_layers}
          on={view.sweep}
          onSweep={(sweep) => onChange({ sweep }, "replace")}
          onEdit={actions.addEdit}
          onOpen={(node) => {
            onChange({ ...FRESH, find: node, open: [node] });
            onActive(node);
          }}
        />
      )}
      <VerifyPanel
        verification={verification}
        rows={verifiedRows}
        view={view}
        goal={goal}
        count={count}
        active={active}
        onCount={setCount}
        onVerify={verifyTop}
        onStop={() => onChange({ verify: verification.stop() || null }, "replace")}
        onRetry={verification.retry}
        onView={(part) => onChange(part, "replace")}
        onPick={onActive}
      />
      <NodeTable
        shown={shown}
        rows={rows}
        columns={columns}
        secondTokens={against === "second" ? (compared.data?.right.tokens ?? null) : null}
        stale={changes ? compared.stale : table.stale}
        error={table.error}
        view={view}
        model={model}
        active={active}
        waiting={waiting}
        measuredHow={measuredHow(view)}
        words={words}
        actions={actions}
        onActive={onActive}
        onChange={onChange}
        finder={finder}
      />
      <div ref={pattern} className="scroll-my-3">
        <PatternPanel
          question={question}
          tokens={answer.tokens}
          nodes={answer.nodes}
          nLayers={answer.model.n_layers}
          nHeads={answer.model.n_heads}
          at={answer.direction.position}
          head={view.head}
          onHead={(head) => onChange({ head }, "replace")}
          onTrace={(step) => actions.trace(step, last < 0 ? null : last)}
          onEdit={actions.addEdit}
        />
      </div>
    </>
  );
}

/** How a verified effect was measured, for the title of one. */
function measuredHow({ ablation, renormalise }: View): string {
  if (ablation === "mean") return "Measured with its write at its mean over the other positions";
  if (ablation === "resample") return "Measured with its write from the second prompt";
  return renormalise
    ? "Measured with its write at zero; a pair’s row renormalised to sum to 1"
    : "Measured with its write at zero; a pair’s row not renormalised";
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
