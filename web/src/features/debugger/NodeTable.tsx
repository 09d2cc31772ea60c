import { useVirtualizer } from "@tanstack/react-virtual";
import { type RefObject, useEffect, useMemo, useRef, useState } from "react";
import type { NodeEffect, Token } from "../../api/types";
import { Button } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { Notice } from "../../components/Notice";
import { visible } from "../../format/token";
import type { ChangeView } from "../../url/useView";
import { type Column, KINDS, type Kind, TOPS, type View } from "../../url/view";
import { download, toCsv } from "./exports";
import { NodeDetailRow } from "./NodeDetailRow";
import { NodeRow, ROW_HEIGHT } from "./NodeRow";
import { columnsOf, matching, maximaOf, sorted, TABLE_COLUMNS } from "./nodeRows";
import { Panel } from "./Panel";
import { questionKey, type Shown, type useNodes } from "./queries";
import { useKeys } from "./useKeys";
import { usePaintMeasure } from "./usePaintMeasure";

const KIND_NAMES: Record<Kind, string> = {
  embed: "embeddings",
  attn: "heads",
  neuron: "neurons",
  bias: "biases",
};

/** Every node that matters to D, sorted, filtered and opened. */
export function NodeTable({
  shown,
  table,
  view,
  onChange,
  finder,
}: {
  shown: Shown;
  table: ReturnType<typeof useNodes>;
  view: View;
  onChange: ChangeView;
  finder: RefObject<HTMLInputElement | null>;
}) {
  const { answer, question } = shown;
  const all = table.nodes ?? answer.nodes;
  const { find, sort } = view;
  const nodes = useMemo(
    () => sorted(matching(all, find, answer.tokens), sort),
    [all, find, sort, answer.tokens],
  );
  const maxima = useMemo(() => maximaOf(all), [all]);
  const columns = useMemo(() => columnsOf(all), [all]);
  const [active, setActive] = useState(-1);
  const scroller = useRef<HTMLDivElement>(null);
  const openIds = useMemo(() => new Set(view.open), [view.open]);
  const virtual = useVirtualizer({
    count: nodes.length,
    getScrollElement: () => scroller.current,
    estimateSize: (i) => (openIds.has(nodes[i]?.id ?? "") ? 240 : ROW_HEIGHT),
    getItemKey: (i) => nodes[i]?.id ?? i,
    overscan: 8,
  });
  usePaintMeasure(answer);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another list has another first row
  useEffect(() => {
    setActive(-1);
    scroller.current?.scrollTo({ top: 0 });
  }, [all, find, sort.column, sort.order]);

  const toggle = (id: string) =>
    onChange(
      { open: openIds.has(id) ? view.open.filter((other) => other !== id) : [...view.open, id] },
      "replace",
    );
  const move = (step: number) => {
    const next = Math.max(0, Math.min(nodes.length - 1, active + step));
    setActive(next);
    virtual.scrollToIndex(next, { align: "auto" });
    scroller.current?.scrollIntoView({ block: "nearest" });
  };
  const openActive = () => {
    const node = nodes[active];
    if (node) toggle(node.id);
  };
  useKeys({ j: () => move(1), k: () => move(-1), Enter: openActive });

  const sortBy = (column: Column) => {
    const numeric = TABLE_COLUMNS.find((one) => one.column === column)?.look !== "name";
    // Largest size, then highest, then lowest; what has no sign or size to speak of goes up, then down.
    const orders = numeric ? (["size", "desc", "asc"] as const) : (["asc", "desc"] as const);
    const at = sort.column === column ? (orders as readonly string[]).indexOf(sort.order) : -1;
    onChange({ sort: { column, order: orders[(at + 1) % orders.length] ?? "desc" } }, "replace");
  };

  return (
    <Panel
      title="Nodes"
      actions={
        <>
          <span className="num text-2xs text-ink-3" data-testid="node-count">
            {nodes.length}
            {find && nodes.length !== all.length ? ` of ${all.length}` : ""}
          </span>
          <fieldset className="flex gap-1">
            <legend className="sr-only">Kinds</legend>
            {KINDS.map((kind) => {
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
            <label className="flex h-6.5 items-center gap-1 rounded border border-line bg-page px-1.5 focus-within:outline-2 focus-within:outline-focus">
              <Icon name="search" size={12} className="text-ink-3" />
              <span className="sr-only">Filter nodes by text</span>
              <input
                ref={finder}
                value={find}
                placeholder="Filter  /"
                spellCheck={false}
                onChange={(event) => onChange({ find: event.target.value }, "replace")}
                onKeyDown={(event) => {
                  if (event.key !== "Escape") return;
                  if (find) onChange({ find: "" }, "replace");
                  else event.currentTarget.blur();
                }}
                className="w-24 bg-transparent text-xs outline-none"
              />
            </label>
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
            <Button icon="save" onClick={() => download("clew-nodes.csv", "text/csv", toCsv(nodes))}>
              CSV
            </Button>
            <Button
              icon="save"
              onClick={() => download("clew-nodes.json", "application/json", JSON.stringify(nodes, null, 2))}
            >
              JSON
            </Button>
          </div>
        </>
      }
    >
      {table.error && <Notice error={table.error} className="mx-3 mb-2" />}
      <div
        ref={scroller}
        role="table"
        aria-label="Nodes"
        aria-rowcount={nodes.length + 1}
        className={`max-h-[34rem] overflow-auto border-t border-line ${table.stale ? "stale" : ""}`}
      >
        <div className="min-w-[38rem]">
          <div
            role="row"
            aria-rowindex={1}
            className={`node-grid sticky top-0 z-10 border-b border-line bg-panel text-xs text-ink-2`}
          >
            {columns.map(({ column, label, title, look }) => {
              const on = sort.column === column;
              return (
                <div
                  key={column}
                  role="columnheader"
                  aria-sort={on ? (sort.order === "asc" ? "ascending" : "descending") : "none"}
                  className={look === "name" ? "" : "text-right"}
                >
                  <button
                    type="button"
                    title={`${title}. Click to sort.`}
                    onClick={() => sortBy(column)}
                    className={`h-6.5 px-2 hover:text-ink ${on ? "font-semibold text-ink" : ""}`}
                  >
                    {label}
                    {on && (
                      <span className="pl-1 font-normal">
                        {{ size: "|↓|", desc: "↓", asc: "↑" }[sort.order]}
                      </span>
                    )}
                  </button>
                </div>
              );
            })}
          </div>
          {nodes.length === 0 ? (
            <p className="px-3 py-6 text-center text-ink-2">
              {find ? `No node here matches “${find}”.` : "No node passes these filters."}{" "}
              <button
                type="button"
                className="underline"
                onClick={() => onChange({ find: "", kinds: [], layers: [], positions: [], sources: [] })}
              >
                Show all
              </button>
            </p>
          ) : (
            <div className="relative" style={{ height: virtual.getTotalSize() }}>
              {virtual.getVirtualItems().map((item) => {
                const node = nodes[item.index] as NodeEffect;
                const open = openIds.has(node.id);
                return (
                  <div
                    key={item.key}
                    ref={virtual.measureElement}
                    data-index={item.index}
                    className="absolute top-0 left-0 w-full"
                    style={{ transform: `translateY(${item.start}px)` }}
                  >
                    <NodeRow
                      node={node}
                      tokens={answer.tokens}
                      index={item.index}
                      open={open}
                      active={item.index === active}
                      maxima={maxima}
                      columns={columns}
                      onClick={() => {
                        setActive(item.index);
                        toggle(node.id);
                      }}
                    />
                    {open && (
                      <NodeDetailRow
                        key={questionKey(question)}
                        question={question}
                        node={node}
                        tokens={answer.tokens}
                      />
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
