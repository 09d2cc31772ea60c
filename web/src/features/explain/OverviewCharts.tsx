import { useMemo } from "react";
import type { Overview } from "../../api/types";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { percent } from "../../format/number";
import { MEANING } from "../../format/score";
import type { ComponentKind } from "../../url/ids";
import type { OverviewView } from "../../url/overviewView";
import { Stroke } from "../sae/LineChart";
import { ExplainedTable } from "./ExplainedTable";
import { OverviewNumbers } from "./OverviewNumbers";
import {
  byDensity,
  byLayer,
  type Change,
  COLOURS,
  KIND_NAMES,
  kindsOf,
  sourceText,
  trimmed,
} from "./overview";
import { PointChart } from "./PointChart";
import { ScoreBars } from "./ScoreBars";

/** The charts and lists of one source, or of two over each other. */
export function OverviewCharts({
  overviews,
  view,
  model,
  onChange,
}: {
  overviews: readonly Overview[];
  view: OverviewView;
  model: { name: string; n_layers: number } | undefined;
  onChange: Change;
}) {
  const kinds = useMemo(() => kindsOf(overviews), [overviews]);
  const kind = view.kind !== null && kinds.includes(view.kind) ? view.kind : (kinds[0] ?? null);
  const labelled = overviews.map((overview, i) => ({
    overview,
    key: String(i),
    label: sourceText(overview.source, model?.name),
    colour: COLOURS[i] ?? COLOURS[0],
  }));
  const layers = useMemo(
    () => labelled.map((one) => ({ ...one, points: byLayer(one.overview, kind) })),
    [labelled, kind],
  );
  const density = labelled.map((one) => ({ ...one, points: byDensity(one.overview) }));
  const last = Math.max(
    (model?.n_layers ?? 1) - 1,
    ...layers.flatMap(({ points }) => points.map(({ x }) => x)),
    1,
  );
  const scores = trimmed(overviews.map(({ distribution }) => distribution));
  const ends = trimmed(overviews.map(({ density }) => density)).flatMap((bins) =>
    bins.flatMap(({ low, high }) => [Math.floor(low), Math.ceil(high)]),
  );
  const listed = overviews[view.listed === "second" ? 1 : 0] ?? overviews[0];
  const scorer = overviews[0]?.source.scorer ?? "simulation";
  const axis = overviews.every(({ source }) => source.scorer === scorer) ? MEANING[scorer].number : "score";
  return (
    <>
      <OverviewNumbers labelled={labelled} />
      <div className="grid grid-cols-[minmax(0,1fr)] gap-3 lg:grid-cols-2 xl:grid-cols-[minmax(0,1.3fr)_minmax(0,1fr)_minmax(0,1fr)] lg:max-xl:[&>:first-child]:col-span-2">
        <Panel
          title="Score by layer"
          actions={
            kinds.length > 1 && kind ? (
              <Segmented<ComponentKind>
                label="Kind"
                value={kind}
                choices={kinds.map((value) => ({ value, label: KIND_NAMES[value] }))}
                onChange={(next) => onChange({ kind: next }, "replace")}
              />
            ) : (
              <span className="text-2xs text-ink-3">{kind && KIND_NAMES[kind]}</span>
            )
          }
        >
          <div className="px-3 pb-2" data-testid="by-layer">
            <PointChart
              label="Mean score by layer; dashed the token table"
              series={layers}
              named={(x) => `layer ${x}`}
              edge={(x) => (Number.isInteger(x) ? String(x) : "")}
              axis={`layer · mean ${axis}, dashed: the token table; a larger point has more components`}
              domain={{ low: 0, high: last }}
              nothing="Nothing of this kind has a score."
            />
          </div>
        </Panel>
        <Panel title="Distribution">
          <div className="px-3 pb-2" data-testid="distribution">
            <ScoreBars
              series={labelled.map((one, i) => ({ ...one, bins: scores[i] ?? [] }))}
              axis={`${axis} · share of the scored components`}
            />
          </div>
        </Panel>
        <Panel title="Score against density">
          <div className="px-3 pb-2" data-testid="by-density">
            <PointChart
              label="Mean score by the share of tokens that a component fires on"
              series={density}
              named={(x) => `fires on about ${percent(10 ** x)} of tokens`}
              edge={(x) => (x === 0 ? "all" : Number.isInteger(x) ? `1e${x}`.replace("-", "−") : "")}
              axis={`share of tokens that it fires on · mean ${axis}`}
              domain={{
                low: ends.length ? Math.min(...ends) : -4,
                high: ends.length ? Math.max(...ends) : 0,
              }}
              nothing="No density is known of these: they were imported, or found without an atlas."
            />
          </div>
        </Panel>
      </div>
      {listed && (
        <Panel
          title="Words"
          actions={
            <>
              <Segmented<OverviewView["end"]>
                label="Which end"
                value={view.end}
                choices={[
                  { value: "best", label: "Best", title: "Those that scored most" },
                  { value: "worst", label: "Worst", title: "Those that scored least" },
                ]}
                onChange={(end) => onChange({ end }, "replace")}
              />
              {overviews.length > 1 && (
                <Segmented<OverviewView["listed"]>
                  label="Of which"
                  value={view.listed}
                  choices={(["first", "second"] as const).map((value, i) => ({
                    value,
                    label: <Stroke colour={COLOURS[i] as string} />,
                    title: labelled[i]?.label,
                  }))}
                  onChange={(next) => onChange({ listed: next }, "replace")}
                />
              )}
              <span className="truncate text-2xs text-ink-3">{sourceText(listed.source, model?.name)}</span>
            </>
          }
        >
          {listed[view.end].length === 0 ? (
            <p className="border-t border-line px-3 py-8 text-center text-xs text-ink-2">
              None has a score that is defined.
            </p>
          ) : (
            <ExplainedTable
              label={view.end === "best" ? "Best words" : "Worst words"}
              rows={listed[view.end]}
              linked={listed.source.model === model?.name}
            />
          )}
        </Panel>
      )}
    </>
  );
}
