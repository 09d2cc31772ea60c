import { useMemo, useState } from "react";
import { useAtlas } from "../../api/atlas";
import { useOverview, useSources } from "../../api/explanations";
import { useStatus } from "../../api/queries";
import type { Overview, Source } from "../../api/types";
import { Absent } from "../../components/Absent";
import { Button, CopyButton } from "../../components/Button";
import { Command } from "../../components/Command";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { SaveButton } from "../../components/SaveButton";
import { Segmented } from "../../components/Segmented";
import { useTitle } from "../../components/useTitle";
import { count, percent } from "../../format/number";
import { MEANING, scoreText } from "../../format/score";
import { useQueryString } from "../../url/address";
import type { ComponentKind } from "../../url/ids";
import {
  type OverviewView,
  readOverviewView,
  type SourceKey,
  writeOverviewView,
} from "../../url/overviewView";
import { NoAtlas } from "../atlas/NoAtlas";
import { INPUT } from "../sae/Field";
import { Stroke } from "../sae/LineChart";
import { ExplainedTable } from "./ExplainedTable";
import { ExplainForm } from "./ExplainForm";
import { useExplaining } from "./Explaining";
import { ExplainProgressLine } from "./ExplainProgressLine";
import {
  byDensity,
  byLayer,
  firstSource,
  KIND_NAMES,
  kindsOf,
  overviewCsv,
  sourceKey,
  sourceText,
  trimmed,
} from "./overview";
import { PointChart } from "./PointChart";
import { FIRST_RECIPE, namesOf, requestOf, toCommand } from "./request";
import { ScoreBars } from "./ScoreBars";

/** Neurons that the empty page offers to explain. */
const NEURONS = 200;
const COLOURS = ["var(--active)", "var(--run-2)"] as const;

type Change = (part: Partial<OverviewView>, how?: "push" | "replace") => void;

/** What all of a model's components do in words, and how far those can be trusted: by layer, kind and density. */
export function ModelPage() {
  const [view, change] = useQueryString(readOverviewView, writeOverviewView);
  const status = useStatus();
  const atlas = useAtlas();
  const sources = useSources();
  const model = status.data?.model;
  const first = sources.data ? (view.source ?? firstSource(sources.data, model?.name)) : null;
  const overview = useOverview(first && keyOf(first));
  const second = useOverview(view.beside);
  const work = useExplaining();
  useTitle("Explanations");
  const none = sources.data?.length === 0;
  const noAtlas = atlas.data !== undefined && atlas.data.atlas === null;
  const shown = overview.data ? [overview.data, ...(view.beside && second.data ? [second.data] : [])] : [];
  return (
    <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3" data-testid="model-explanations">
      {status.error && <Notice error={status.error} />}
      {sources.error && <Notice error={sources.error} onRetry={() => sources.refetch()} />}
      {none ? (
        noAtlas ? (
          <NoAtlas what="words are found and scored on its examples." problem={atlas.data?.problem ?? null} />
        ) : (
          model && <Unexplained model={model.name} layers={model.n_layers} neurons={model.n_neurons} />
        )
      ) : (
        sources.data &&
        first && (
          <>
            <Choice
              sources={sources.data}
              first={first}
              view={view}
              model={model?.name}
              shown={shown}
              refused={noAtlas ? "Words are found on the examples of an atlas, and there is none" : null}
              onChange={change}
            />
            {view.explain !== null && (
              <ExplainForm
                components={namesOf(view.explain)}
                model={model?.name ?? "smollm2"}
                heads={/\battn/.test(view.explain)}
                refused={noAtlas ? "Words are found on the examples of an atlas, and there is none." : null}
              >
                <label className="flex items-center gap-1.5 text-xs text-ink-2">
                  components
                  <input
                    value={view.explain}
                    placeholder="neuron.5.0-199, attn.*.*, latent.mlp_out.10.*"
                    spellCheck={false}
                    autoCapitalize="off"
                    autoComplete="off"
                    onChange={(event) => change({ explain: event.target.value }, "replace")}
                    className={`${INPUT} max-w-md font-mono`}
                  />
                </label>
              </ExplainForm>
            )}
            {(work.running || work.progress || work.error) && <ExplainProgressLine />}
            {overview.error && <Notice error={overview.error} onRetry={() => overview.refetch()} />}
            {view.beside && second.error && <Notice error={second.error} onRetry={() => second.refetch()} />}
            {overview.data ? (
              <div
                className={`flex flex-col gap-3 ${overview.isPlaceholderData || second.isPlaceholderData ? "stale" : ""}`}
              >
                <Shown overviews={shown} view={view} model={model} onChange={change} />
              </div>
            ) : (
              !overview.error && (
                <div role="status" className="skeleton h-[36rem]">
                  <span className="sr-only">Reading the explanations</span>
                </div>
              )
            )}
          </>
        )
      )}
    </main>
  );
}

function keyOf({ model, llm, variant, scorer, simulator }: SourceKey): SourceKey {
  return { model, llm, variant, scorer, simulator };
}

/** Whose words are shown, what beside them, and what can be done with all of them. */
function Choice({
  sources,
  first,
  view,
  model,
  shown,
  refused,
  onChange,
}: {
  sources: readonly Source[];
  first: SourceKey;
  view: OverviewView;
  model: string | undefined;
  shown: readonly Overview[];
  refused: string | null;
  onChange: Change;
}) {
  const find = (key: string) => {
    const found = sources.find((source) => sourceKey(source) === key);
    return found ? keyOf(found) : null;
  };
  const options = (without: SourceKey | null) =>
    sources
      .filter((source) => without === null || sourceKey(source) !== sourceKey(without))
      .map((source) => (
        <option key={sourceKey(source)} value={sourceKey(source)}>
          {`${sourceText(source, model)} · ${count(source.components)}`}
        </option>
      ));
  const unknown = (key: SourceKey) =>
    sources.every((source) => sourceKey(source) !== sourceKey(key)) && (
      <option value={sourceKey(key)}>{sourceText(key, model)}</option>
    );
  const select = "h-6.5 min-w-0 max-w-80 rounded border border-line bg-panel px-1 text-xs text-ink";
  return (
    <section
      aria-label="Whose words"
      className="flex flex-wrap items-center gap-x-4 gap-y-2 rounded-md border border-line bg-panel px-3 py-2"
    >
      <label className="flex min-w-0 items-center gap-1.5 text-xs text-ink-2">
        <Stroke colour={COLOURS[0]} />
        <span className="whitespace-nowrap">words by</span>
        <select
          aria-label="Words by"
          value={sourceKey(first)}
          className={select}
          onChange={(event) => onChange({ source: find(event.target.value) })}
        >
          {unknown(first)}
          {options(null)}
        </select>
      </label>
      <label
        className="flex min-w-0 items-center gap-1.5 text-xs text-ink-2"
        title={
          sources.length < 2
            ? "There is nothing else yet: explain with another language model, or score with another scorer"
            : "Drawn over the first: another explainer, scorer or model"
        }
      >
        <Stroke colour={COLOURS[1]} />
        <span className="whitespace-nowrap">beside</span>
        <select
          aria-label="Beside"
          value={view.beside ? sourceKey(view.beside) : ""}
          disabled={sources.length < 2}
          className={`${select} disabled:opacity-50`}
          onChange={(event) => onChange({ beside: find(event.target.value), listed: "first" })}
        >
          <option value="">nothing</option>
          {view.beside && unknown(view.beside)}
          {options(first)}
        </select>
      </label>
      <div className="ml-auto flex flex-wrap items-center gap-1.5">
        <Button
          aria-expanded={view.explain !== null}
          disabled={refused !== null}
          title={refused ?? "Have words found for more components; the cost is told first"}
          onClick={() =>
            onChange({ explain: view.explain === null ? `neuron.5.0-${NEURONS - 1}` : null }, "replace")
          }
        >
          Explain more…
        </Button>
        <CopyButton text={() => window.location.href}>Copy link</CopyButton>
        <SaveButton
          file="clew-overview.csv"
          disabled={shown.length === 0}
          title="Scores by kind, layer, score and density"
          text={() => overviewCsv(shown)}
        />
        <SaveButton
          file="clew-overview.json"
          disabled={shown.length === 0}
          title="The same with the lists, in full"
          text={() => JSON.stringify(shown, null, 2)}
        />
        <Exports />
      </div>
    </section>
  );
}

/** All chosen explanations as files, as the server writes them. */
function Exports() {
  const formats = [
    ["json", "Clew’s own", "All chosen explanations with their scores"],
    ["openai", "OpenAI’s", "In the format of OpenAI’s published explanations"],
    ["neuronpedia", "Neuronpedia’s", "In the format of Neuronpedia’s export"],
  ] as const;
  return (
    <details className="relative">
      <summary className="flex h-6.5 list-none items-center rounded border border-line bg-panel px-2 text-xs text-ink-2 hover:border-line-strong hover:text-ink">
        All words as files
      </summary>
      <ul className="absolute right-0 z-20 mt-1 w-56 rounded border border-line-strong bg-panel py-1 text-xs shadow-[0_4px_16px_rgb(0_0_0/0.14)] max-sm:right-auto max-sm:left-0">
        {formats.map(([format, name, title]) => (
          <li key={format}>
            <a
              href={`/api/explanations/export?format=${format}`}
              download
              title={title}
              className="block px-2.5 py-1 text-ink-2 hover:bg-raised hover:text-ink"
            >
              {name} format
            </a>
          </li>
        ))}
      </ul>
    </details>
  );
}

/** The charts and lists of one source, or of two over each other. */
function Shown({
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
      <Numbers labelled={labelled} />
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

/** How many have words and a score, and the means by kind: a row for each source and kind. */
function Numbers({
  labelled,
}: {
  labelled: readonly { overview: Overview; key: string; label: string; colour: string }[];
}) {
  return (
    <Panel title="In numbers">
      <div className="overflow-x-auto border-t border-line">
        <table className="w-full border-collapse text-xs" aria-label="In numbers">
          <thead>
            <tr className="border-b border-line text-2xs text-ink-3">
              <th className="h-6 px-3 text-left font-normal">Words by</th>
              <th className="px-2 text-right font-normal">Explained</th>
              <th className="px-2 text-right font-normal" title="Those whose score is defined">
                Scored
              </th>
              <th
                className="px-2 text-right font-normal"
                title="Tried in vain, or scored nothing but failures"
              >
                Failed
              </th>
              <th className="px-2 text-right font-normal whitespace-nowrap">Mean score</th>
              <th
                className="px-2 text-right font-normal whitespace-nowrap"
                title="What looking each token up in the examples reaches, without words"
              >
                Token table
              </th>
              <th className="w-full px-3 text-left font-normal">By kind: mean ± sd, against the table</th>
            </tr>
          </thead>
          <tbody>
            {labelled.map(({ overview, key, label, colour }) => {
              const { scorer } = overview.source;
              return (
                <tr key={key} data-source={key} className="border-b border-line last:border-b-0">
                  <td className="h-7 max-w-96 truncate px-3 max-sm:max-w-32" title={label}>
                    <span className="inline-flex items-center gap-1.5">
                      <Stroke colour={colour} />
                      {label}
                    </span>
                  </td>
                  <td className="num px-2 text-right" data-column="explained">
                    {count(overview.explained)}
                  </td>
                  <td className="num px-2 text-right" data-column="scored">
                    {count(overview.scored)}
                  </td>
                  <td
                    className={`num px-2 text-right ${overview.failed ? "text-bad" : "text-ink-2"}`}
                    data-column="failed"
                  >
                    {count(overview.failed)}
                  </td>
                  <td className="num px-2 text-right text-sm font-semibold" data-column="mean">
                    {scoreText(scorer, overview.mean)}
                  </td>
                  <td className="num px-2 text-right text-ink-2">{scoreText(scorer, overview.table)}</td>
                  <td className="px-3">
                    <span className="flex flex-wrap gap-x-5">
                      {overview.kinds.map(({ kind, n, mean, deviation, table }) => (
                        <span key={kind} className="num text-ink-2">
                          {KIND_NAMES[kind as ComponentKind] ?? kind}{" "}
                          <span className="text-ink">{scoreText(scorer, mean)}</span>
                          {` ± ${scoreText("detection", deviation)} vs ${scoreText(scorer, table)}, n ${count(n)}`}
                        </span>
                      ))}
                    </span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

/** What stands where there are no words yet: how they come about, at once and offline. */
function Unexplained({ model, layers, neurons }: { model: string; layers: number; neurons: number }) {
  const { running, begin } = useExplaining();
  const [number, setNumber] = useState(String(Math.min(NEURONS, neurons)));
  const [layer, setLayer] = useState(Math.min(5, layers - 1));
  const many = Number(number.replace(/[\s,_.]/g, ""));
  const wrong = !Number.isInteger(many) || many < 1 || many > neurons;
  const components = [`neuron.${layer}.0-${wrong ? NEURONS - 1 : many - 1}`];
  const found = requestOf(FIRST_RECIPE, components, null);
  const request = "request" in found ? found.request : null;
  return (
    <Absent
      label="No explanations"
      data-testid="no-explanations"
      title="No component of this model has words yet"
      about={
        <p>
          Words say what a component does in general; a score says how far to trust them, on texts that
          whoever wrote them never saw. The token lookup finds some offline, without any language model: it
          says which tokens a component fires on, and is the least that a language model should beat.
        </p>
      }
    >
      {running ? (
        <ExplainProgressLine />
      ) : (
        <form
          className="flex flex-wrap items-center gap-x-2 gap-y-1.5"
          onSubmit={(event) => {
            event.preventDefault();
            if (!wrong && request) begin(request);
          }}
        >
          <Button
            type="submit"
            look="strong"
            disabled={wrong}
            title={
              wrong
                ? `A layer has ${count(neurons)} neurons: give a number from 1 to that`
                : "It can be cancelled; what is done is kept"
            }
          >
            Explain now, offline
          </Button>
          <label className="flex items-center gap-1.5 text-xs text-ink-2">
            the first
            <input
              value={number}
              inputMode="numeric"
              aria-label="Neurons to explain"
              aria-invalid={wrong}
              onChange={(event) => setNumber(event.target.value)}
              className={`${INPUT} num w-16! text-right`}
            />
            neurons
          </label>
          <label className="flex items-center gap-1.5 text-xs text-ink-2">
            of layer
            <select
              value={layer}
              onChange={(event) => setLayer(Number(event.target.value))}
              className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink"
            >
              {Array.from({ length: layers }, (_, i) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a layer is its number
                <option key={i}>{i}</option>
              ))}
            </select>
          </label>
        </form>
      )}
      {!running && <ExplainProgressLine />}
      {request && (
        <Command lead="Or in a terminal, with a language model too:" text={toCommand(model, request)} />
      )}
    </Absent>
  );
}
