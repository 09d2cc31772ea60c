import { useVirtualizer } from "@tanstack/react-virtual";
import { type RefObject, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Explanation, Model, Token } from "../../api/types";
import { useAsked } from "../../components/asked";
import { Button } from "../../components/Button";
import { FilterField } from "../../components/FilterField";
import { Icon } from "../../components/Icon";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { useKeys } from "../../components/useKeys";
import { visible } from "../../format/token";
import { go } from "../../url/address";
import { componentOf } from "../../url/ids";
import { componentAddress } from "../../url/route";
import type { ChangeView } from "../../url/useView";
import { type Column, KINDS, type Kind, TOPS, type View } from "../../url/view";
import { noEdit, noVerify, zero } from "./edits";
import { toCsv } from "./exports";
import { type Actions, NodeActions } from "./NodeActions";
import { NodeDetailRow } from "./NodeDetailRow";
import { NodeRow, ROW_HEIGHT, WORDS_HEIGHT } from "./NodeRow";
import { type ColumnInfo, disagrees, matching, maximaOf, type Row, sorted, sortIn } from "./nodeRows";
import { questionKey, type Shown } from "./queries";
import { noTrace, waysOf } from "./trace";
import { usePaintMeasure } from "./usePaintMeasure";

const KIND_NAMES: Record<Kind, string> = {
  embed: "embeddings",
  attn: "heads",
  neuron: "neurons",
  latent: "latents",
  error: "errors",
  bias: "biases",
};
/** A note about a key that could not do its work stays this long. */
const NOTE_MS = 6000;

/** Every node that matters to what is explained, sorted, filtered, opened and acted on. */
export function NodeTable({
  shown,
  rows: all,
  columns,
  secondTokens,
  stale,
  error,
  view,
  model,
  active,
  waiting,
  measuredHow,
  words,
  actions,
  onActive,
  onChange,
  finder,
}: {
  shown: Shown;
  rows: readonly Row[];
  columns: readonly ColumnInfo[];
  /** The tokens of the second prompt, when the table compares with it. */
  secondTokens: readonly Token[] | null;
  /** Whether the rows belong to the filters before. */
  stale: boolean;
  error: Error | null;
  view: View;
  model: Model | undefined;
  /** Id of the row that the keys act on. */
  active: string | null;
  /** Ids of nodes that are being measured. */
  waiting: ReadonlySet<string>;
  measuredHow: string;
  /** The best explanation of each component that has one. */
  words: ReadonlyMap<string, Explanation>;
  actions: Actions;
  onActive: (id: string | null) => void;
  onChange: ChangeView;
  finder: RefObject<HTMLInputElement | null>;
}) {
  const { answer, question } = shown;
  const { find, disagree } = view;
  const { column: sortColumn, order: sortOrder } = sortIn(view.sort, columns);
  const rows = useMemo(() => {
    const found = matching(all, find, answer.tokens);
    const listed = disagree
      ? found.filter((row) => disagrees(row.estimated_effect, row.verified_effect))
      : found;
    return sorted(listed, { column: sortColumn, order: sortOrder });
  }, [all, find, disagree, sortColumn, sortOrder, answer.tokens]);
  const maxima = useMemo(() => maximaOf(all), [all]);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [note, setNote] = useNote();
  const [tracing, setTracing] = useState<string | null>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const asked = useAsked();
  const openIds = useMemo(() => new Set(view.open), [view.open]);
  const ablated = useMemo(() => new Set(view.edits), [view.edits]);
  const at = active === null ? -1 : rows.findIndex((row) => row.id === active);
  const wordsOf = (id: string | undefined) => words.get((id && componentOf(id)) ?? "");
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: (i) =>
      openIds.has(rows[i]?.id ?? "") ? 280 : ROW_HEIGHT + (wordsOf(rows[i]?.id) ? WORDS_HEIGHT : 0),
    getItemKey: (i) => rows[i]?.id ?? i,
    overscan: 8,
  });
  usePaintMeasure(answer);
  const filters = [view.kinds, view.layers, view.positions, view.sources, view.top].join("|");
  // biome-ignore lint/correctness/useExhaustiveDependencies: another list has another first row
  useEffect(() => {
    scroller.current?.scrollTo({ top: 0 });
    setChosen(new Set());
  }, [question, filters, find, disagree, sortColumn, sortOrder]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the row is shown when it is chosen, not when it moves
  useEffect(() => {
    if (active === null) return;
    if (at >= 0) virtual.scrollToIndex(at, { align: "auto" });
    else if (all.length > 0) setNote(`${active} is not in this table: filters hide it.`);
  }, [active]);

  const toggle = (id: string) =>
    onChange(
      { open: openIds.has(id) ? view.open.filter((other) => other !== id) : [...view.open, id] },
      "replace",
    );
  const move = (step: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, at + step));
    onActive(rows[next]?.id ?? null);
    scroller.current?.scrollIntoView({ block: "nearest" });
  };
  const choose = (id: string) =>
    setChosen((old) => new Set(old.has(id) ? [...old].filter((other) => other !== id) : [...old, id]));
  /** Does something with the active row, or says that there is none. */
  const withActive = (what: string, act: (row: Row) => void) => {
    const row = rows[at];
    if (row) act(row);
    else setNote(`Choose a row first, with j and k or a click: ${what} acts on it.`);
  };
  const openActive = () => {
    const row = rows[at];
    if (row) toggle(row.id);
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    Enter: openActive,
    x: () => withActive("x", (row) => choose(row.id)),
    c: () =>
      withActive("c", (row) => {
        const component = componentOf(row.id);
        if (component === null)
          setNote(`${row.id} has no page of its own: only heads, neurons and latents have.`);
        else {
          go(componentAddress(component, asked));
          window.scrollTo(0, 0);
        }
      }),
    a: () =>
      withActive("a", (row) => {
        const why = noEdit(row);
        if (why) setNote(why);
        else actions.ablate([row.id]);
      }),
    v: () =>
      withActive("v", (row) => {
        const why = noVerify(row.id, view.ablation);
        if (why) setNote(why);
        else if (row.verified_effect === null) actions.verify([row.id]);
      }),
    V: actions.verifyTop,
    t: () =>
      withActive("t", (row) => {
        const why = noTrace(row);
        const ways = waysOf(row, model);
        const [only] = ways;
        if (why) setNote(why);
        else if (only && ways.length === 1)
          actions.trace(`${row.id}:${only.through}`, view.trace.length ? view.trace.length - 1 : null);
        else {
          if (!openIds.has(row.id)) toggle(row.id);
          setTracing(row.id);
        }
      }),
  });

  const sortBy = (column: Column, numeric: boolean) => {
    // Largest size, then highest, then lowest; what has no sign or size to speak of goes up, then down.
    const orders = numeric ? (["size", "desc", "asc"] as const) : (["asc", "desc"] as const);
    const now = sortColumn === column ? (orders as readonly string[]).indexOf(sortOrder) : -1;
    onChange({ sort: { column, order: orders[(now + 1) % orders.length] ?? "desc" } }, "replace");
  };
  const showAll = () =>
    onChange({ find: "", kinds: [], layers: [], positions: [], sources: [], disagree: false });
  // A latent's number is at the end of its name, which must not be cut off.
  const nameWidth = answer.autoencoders.length > 0 ? 13.5 : 9.25;
  const measurable = [...chosen].filter((id) => noVerify(id, view.ablation) === null);
  const editable = rows.filter((row) => chosen.has(row.id) && noEdit(row) === null).map(({ id }) => id);

  return (
    <Panel
      title="Nodes"
      actions={
        <>
          <span className="num text-2xs text-ink-3" data-testid="node-count">
            {rows.length}
            {rows.length !== all.length ? ` of ${all.length}` : ""}
          </span>
          <fieldset className="flex flex-wrap gap-1">
            <legend className="sr-only">Kinds</legend>
            {KINDS.filter(
              (kind) =>
                (kind !== "latent" && kind !== "error") ||
                answer.autoencoders.length > 0 ||
                view.kinds.includes(kind),
            ).map((kind) => {
              const on = view.kinds.includes(kind);
              return (
                <Button
                  key={kind}
                  aria-pressed={on}
                  className={on ? "border-ink! text-ink!" : ""}
                  onClick={() =>
                    onChange({
                      kinds: on ? view.kinds.filter((other) => other !== kind) : [...view.kinds, kind],
                      open: [],
                    })
                  }
                >
                  {KIND_NAMES[kind]}
                </Button>
              );
            })}
          </fieldset>
          <FilterChips view={view} tokens={answer.tokens} onChange={onChange} />
          <div className="ml-auto flex flex-wrap items-center gap-1.5">
            <FilterField
              label="Filter nodes by text"
              value={find}
              onChange={(find) => onChange({ find }, "replace")}
              finder={finder}
              width="w-24"
            />
            <label className="flex items-center gap-1 text-xs text-ink-2">
              top
              <select
                value={view.top}
                title="How many of each end of each metric"
                onChange={(event) => onChange({ top: Number(event.target.value), open: [] })}
                className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink"
              >
                {[...new Set([...TOPS, view.top])]
                  .sort((a, b) => a - b)
                  .map((top) => (
                    <option key={top}>{top}</option>
                  ))}
              </select>
            </label>
            <SaveButton file="clew-nodes.csv" text={() => toCsv(rows)} />
            <SaveButton
              file="clew-nodes.json"
              text={() =>
                JSON.stringify(
                  rows.map(({ disagreement: _, change, ...node }) =>
                    change ? { ...node, left: change.left, right: change.right } : node,
                  ),
                  null,
                  2,
                )
              }
            />
          </div>
        </>
      }
    >
      {error && <Notice error={error} className="mx-3 mb-2" />}
      {chosen.size > 0 && (
        <div className="flex flex-wrap items-center gap-1.5 border-t border-line px-3 py-1.5 text-xs">
          <span className="num">{chosen.size} selected</span>
          <Button
            disabled={editable.length === 0}
            title={
              editable.length === 0
                ? "Biases cannot be switched off: they are constants of the model"
                : editable.length < chosen.size
                  ? "Switches off all that can be; biases cannot"
                  : "Switches all of them off, or on again"
            }
            onClick={() => actions.ablate(editable)}
          >
            Ablate selection
          </Button>
          <Button
            disabled={measurable.length === 0}
            title={
              measurable.length === 0
                ? "None of these can be measured in this way"
                : "Run the model without each of them"
            }
            onClick={() => actions.verify(measurable)}
          >
            Verify selection
          </Button>
          <Button look="bare" onClick={() => setChosen(new Set())}>
            Clear
          </Button>
        </div>
      )}
      <p role="status" className={note ? "border-t border-line px-3 py-1 text-xs text-ink-2" : "sr-only"}>
        {note}
      </p>
      <div
        ref={scroller}
        role="table"
        aria-label="Nodes"
        aria-rowcount={rows.length + 1}
        className={`max-h-[34rem] overflow-auto border-t border-line ${stale ? "stale" : ""}`}
      >
        <div
          style={
            {
              "--node-name": `${nameWidth}rem`,
              minWidth: `${9.25 + nameWidth + 5 * (columns.length - 2)}rem`,
            } as React.CSSProperties
          }
        >
          <div
            role="row"
            aria-rowindex={1}
            className="node-grid sticky top-0 z-10 border-b border-line bg-panel text-xs text-ink-2"
          >
            <div role="columnheader">
              <span className="sr-only">Selected</span>
            </div>
            {columns.map(({ column, label, title, look }) => {
              const on = sortColumn === column;
              return (
                <div
                  key={column}
                  role="columnheader"
                  aria-sort={on ? (sortOrder === "asc" ? "ascending" : "descending") : "none"}
                  className={
                    look !== "name" ? "text-right" : column === "id" ? "sticky left-0 z-[1] bg-panel" : ""
                  }
                >
                  <button
                    type="button"
                    title={`${title}. Click to sort.`}
                    onClick={() => sortBy(column, look !== "name")}
                    className={`h-6.5 whitespace-nowrap hover:text-ink ${column === "id" ? "pr-2 pl-1" : "px-2"} ${
                      on ? "font-semibold text-ink" : ""
                    }`}
                  >
                    {label}
                    {on && (
                      <span className="pl-1 font-normal">
                        {{ size: "|↓|", desc: "↓", asc: "↑" }[sortOrder]}
                      </span>
                    )}
                  </button>
                </div>
              );
            })}
          </div>
          {rows.length === 0 ? (
            <p className="px-3 py-6 text-center text-ink-2">
              {find
                ? `No node here matches “${find}”.`
                : disagree
                  ? "No verified effect here disagrees with its estimate."
                  : "No node passes these filters."}{" "}
              <button type="button" className="underline" onClick={showAll}>
                Show all
              </button>
            </p>
          ) : (
            <div className="relative" style={{ height: virtual.getTotalSize() }}>
              {virtual.getVirtualItems().map((item) => {
                const row = rows[item.index] as Row;
                const open = openIds.has(row.id);
                const tokens = row.change?.left === null && secondTokens ? secondTokens : answer.tokens;
                return (
                  <div
                    key={item.key}
                    ref={virtual.measureElement}
                    data-index={item.index}
                    className="absolute top-0 left-0 w-full"
                    style={{ transform: `translateY(${item.start}px)` }}
                  >
                    <NodeRow
                      row={row}
                      tokens={tokens}
                      index={item.index}
                      open={open}
                      active={row.id === active}
                      chosen={chosen.has(row.id)}
                      ablated={ablated.has(zero(row.id))}
                      measuring={waiting.has(row.id)}
                      measuredHow={measuredHow}
                      maxima={maxima}
                      columns={columns}
                      words={wordsOf(row.id)}
                      onClick={() => {
                        onActive(row.id);
                        toggle(row.id);
                      }}
                      onChoose={() => choose(row.id)}
                    />
                    {open && (
                      <NodeDetailRow
                        key={questionKey(question)}
                        question={question}
                        node={row}
                        tokens={tokens}
                        words={wordsOf(row.id)}
                        onRow={onActive}
                      >
                        <NodeActions
                          node={row}
                          view={view}
                          model={model}
                          actions={actions}
                          verified={row.verified_effect !== null}
                          measuring={waiting.has(row.id)}
                          focusTrace={tracing === row.id}
                          onFocused={() => setTracing(null)}
                        />
                      </NodeDetailRow>
                    )}
                  </div>
                );
              })}
            </div>
          )}
        </div>
      </div>
    </Panel>
  );
}

/** A sentence that goes away by itself. */
function useNote(): [string, (note: string) => void] {
  const [note, setNote] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return [
    note,
    useCallback((next: string) => {
      clearTimeout(timer.current);
      setNote(next);
      timer.current = setTimeout(() => setNote(""), NOTE_MS);
    }, []),
  ];
}
/** The filters set from the maps, each with a way to take it off. */
function FilterChips({
  view,
  tokens,
  onChange,
}: {
  view: View;
  tokens: readonly Token[];
  onChange: ChangeView;
}) {
  const token = (position: number) => `${visible(tokens[position]?.text ?? "")} (${position})`;
  const chips = [
    ...(view.layers.length ? [{ name: "layers" as const, text: `layer ${view.layers.join(", ")}` }] : []),
    ...(view.positions.length
      ? [{ name: "positions" as const, text: `at ${view.positions.map(token).join(", ")}` }]
      : []),
    ...(view.sources.length
      ? [{ name: "sources" as const, text: `from ${view.sources.map(token).join(", ")}` }]
      : []),
  ];
  return chips.map(({ name, text }) => (
    <Button
      key={name}
      aria-label={`Remove the filter ${text}`}
      onClick={() => onChange({ [name]: [], open: [] })}
    >
      <span className="font-mono">{text}</span>
      <Icon name="cross" size={11} />
    </Button>
  ));
}
