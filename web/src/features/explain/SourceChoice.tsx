import type { Overview, Source } from "../../api/types";
import { Button, CopyButton } from "../../components/Button";
import { SaveButton } from "../../components/SaveButton";
import { count } from "../../format/number";
import type { OverviewView, SourceKey } from "../../url/overviewView";
import { Stroke } from "../sae/LineChart";
import { type Change, COLOURS, keyOf, overviewCsv, sourceKey, sourceText } from "./overview";
import { NEURONS } from "./request";

/** Whose words are shown, what beside them, and what can be done with all of them. */
export function SourceChoice({
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
