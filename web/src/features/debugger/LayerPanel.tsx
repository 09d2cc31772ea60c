import type { UseQueryResult } from "@tanstack/react-query";
import { useMemo, useRef, useState } from "react";
import type { Lens, NodeEffect, Token } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { Facts, Tip } from "../../components/Tip";
import { TokenText } from "../../components/TokenText";
import { useSize } from "../../components/useSize";
import { percent, signed } from "../../format/number";
import { writtenBy } from "../../url/ids";
import type { MapName, View } from "../../url/view";
import { zero } from "./edits";
import { HeatMap } from "./HeatMap";
import { cellFilters, gridOf, readingPositions } from "./maps";
import type { Shown } from "./queries";
import { WaterfallChart } from "./WaterfallChart";
import { waterfall } from "./waterfall";

const MAP_CHOICES = [
  { value: "direct", label: "Direct", title: "Direct effect; attention is put on the token it reads" },
  {
    value: "estimated",
    label: "Estimated",
    title: "Activation × gradient, on the token where it is written",
  },
  { value: "lens", label: "Logit lens", title: "D if the model ended after this layer" },
] as const;

const EXPLAINED: Record<MapName, string> = {
  direct: "Direct effect; attention is put on the token it reads.",
  estimated: "Activation × gradient, on the token that is written at.",
  lens: "D if the model ended after this layer.",
};

/** Where in the depth of the model, and at which token, the answer was made; both charts share the rows. */
export function LayerPanel({
  shown,
  lens,
  view,
  onMap,
  onCell,
  onAblate,
}: {
  shown: Shown;
  lens: UseQueryResult<Lens>;
  view: View;
  onMap: (map: MapName) => void;
  onCell: (filters: ReturnType<typeof cellFilters>) => void;
  /** Switches places off, or on again if all of them are off. */
  onAblate: (places: readonly string[]) => void;
}) {
  const { answer } = shown;
  const steps = useMemo(() => waterfall(answer.by_layer), [answer]);
  const grid = useMemo(() => gridOf(view.map, answer, lens.data), [view.map, answer, lens.data]);
  const [tip, setTip] = useState<{ anchor: DOMRect; row: number; column: number } | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const wide = width >= 620;
  const reading = useMemo(() => readingPositions(answer), [answer]);
  const at = reading[0] ?? answer.direction.position;
  const goal = answer.trace.length ? "S" : "D";
  const rows = answer.by_layer_position.direct.length + 1;
  const rowHeight = Math.max(6, Math.min(16, Math.floor(352 / rows)));
  const chosen =
    view.layers.length === 1 && (view.positions.length === 1 || view.sources.length === 1)
      ? { row: (view.layers[0] as number) + 1, column: view.sources[0] ?? view.positions[0] ?? -1 }
      : null;
  const cell = tip && lens.data && view.map === "lens" ? lens.data.top[tip.row]?.[tip.column] : undefined;
  const axis = 44;
  // Before the first full layout the box may be narrower than its own axis.
  const fallWidth = wide ? Math.min(300, Math.max(200, width * 0.3)) : Math.max(120, width - axis - 24);

  return (
    <Panel
      title="Layers"
      actions={
        <>
          <span className="truncate text-2xs text-ink-3 max-md:hidden">
            {EXPLAINED[view.map]} Click a cell to list its nodes.
          </span>
          <span className="ml-auto">
            <Segmented label="Map" value={view.map} choices={MAP_CHOICES} onChange={onMap} />
          </span>
        </>
      }
    >
      <div ref={box} className={`flex gap-4 px-3 pb-3 ${wide ? "" : "flex-col"}`}>
        {width > 0 && (
          <>
            <WaterfallChart
              fall={steps}
              layers={answer.by_layer_position.direct.length}
              goal={goal}
              value={answer.accounting.value}
              rowHeight={rowHeight}
              axis={axis}
              width={fallWidth}
            />
            <div className="min-w-0 flex-1">
              {grid ? (
                <HeatMap
                  grid={grid}
                  tokens={answer.tokens}
                  at={at}
                  rowHeight={rowHeight}
                  width={wide ? width - axis - fallWidth - 40 : width - 24}
                  label={EXPLAINED[view.map]}
                  chosen={chosen}
                  onHover={setTip}
                  onPick={(row, column) => onCell(cellFilters(view.map, row, column, reading))}
                />
              ) : lens.error ? (
                <Notice error={lens.error}>
                  <Button onClick={() => lens.refetch()}>Retry</Button>
                </Notice>
              ) : (
                <div role="status" className="skeleton" style={{ height: rows * rowHeight }}>
                  <span className="sr-only">Reading the logit lens</span>
                </div>
              )}
            </div>
          </>
        )}
      </div>
      {chosen && <LayerEdits view={view} tokens={answer.tokens} nodes={answer.nodes} onAblate={onAblate} />}
      {tip && grid && (
        <Tip anchor={tip.anchor}>
          <Facts
            rows={[
              [
                view.map === "lens" ? "after" : "layer",
                tip.row === 0 ? "embedding" : view.map === "lens" ? `layer ${tip.row - 1}` : `${tip.row - 1}`,
              ],
              [`token ${tip.column}`, <TokenText key="token" text={answer.tokens[tip.column]?.text ?? ""} />],
              [view.map === "lens" ? "D here" : "effect", signed(grid[tip.row]?.[tip.column])],
              ...(cell
                ? [
                    [
                      "would say",
                      <span key="say">
                        <TokenText text={cell.text} /> {percent(cell.probability)}
                      </span>,
                    ] as const,
                  ]
                : []),
            ]}
          />
        </Tip>
      )}
    </Panel>
  );
}

/** Whole layers to switch off, at the token that was picked in the map. */
function LayerEdits({
  view,
  tokens,
  nodes,
  onAblate,
}: {
  view: View;
  tokens: readonly Token[];
  nodes: readonly NodeEffect[];
  onAblate: (places: readonly string[]) => void;
}) {
  const layer = view.layers[0];
  const position = view.positions[0];
  const source = view.sources[0];
  const at = position === undefined ? "" : `@${position}`;
  const text = (i: number) => <TokenText text={tokens[i]?.text ?? ""} />;
  const coded = nodes.filter(
    (node) => node.layer === layer && (node.kind === "latent" || node.kind === "error"),
  );
  const sites = source === undefined ? [...new Set(coded.map(({ id }) => writtenBy(id)))] : [];
  const places = [
    source === undefined
      ? { place: `attn.${layer}.*${at}`, label: "all heads" }
      : { place: `attn.${layer}.*${at}<-${source}`, label: "what all heads read there" },
    ...(source === undefined ? [{ place: `neuron.${layer}.*${at}`, label: "the MLP" }] : []),
    ...sites.map((site) => ({ place: `latent.${site}.*${at}`, label: `all latents of ${site}` })),
  ];
  return (
    <p className="flex flex-wrap items-center gap-1.5 border-t border-line px-3 py-1.5 text-xs text-ink-2">
      <span>
        Layer {layer}
        {position !== undefined && <> at {text(position)}</>}
        {source !== undefined && <> from {text(source)}</>}:
      </span>
      {places.map(({ place, label }) => {
        const off = view.edits.includes(zero(place));
        return (
          <Button
            key={place}
            aria-pressed={off}
            className={off ? "border-ink! text-ink!" : ""}
            title={off ? "Take the ablation out of the edits" : `Adds the edit zero:${place}`}
            onClick={() => onAblate([place])}
          >
            {off ? "Ablated: " : "Ablate "}
            {label}
          </Button>
        );
      })}
    </p>
  );
}
