import type { Bin, Group, Overview, Source } from "../../api/types";
import { csvText } from "../../format/csv";
import { briefly, CAME_FROM } from "../../format/score";
import { COMPONENT_KINDS, type ComponentKind } from "../../url/ids";
import type { OverviewView, SourceKey } from "../../url/overviewView";
import { oneOf } from "../../url/params";

export const KIND_NAMES: Record<ComponentKind, string> = {
  attn: "heads",
  neuron: "neurons",
  latent: "latents",
};

/** Of the words that are shown, and of those that are drawn over them. */
export const COLOURS = ["var(--active)", "var(--run-2)"] as const;

/** Shows something else; what is typed or clicked through takes the place of the view before in the history. */
export type Change = (part: Partial<OverviewView>, how?: "push" | "replace") => void;

/** One value of a chart: a mean over `n` components, and what the token table reaches on them. */
export interface Point {
  x: number;
  y: number;
  n: number;
  deviation: number | null;
  table: number | null;
}

/** What names a source, without what there is of it. */
export function keyOf({ model, llm, variant, scorer, simulator }: SourceKey): SourceKey {
  return { model, llm, variant, scorer, simulator };
}

export function sourceKey({ model, llm, variant, scorer, simulator }: SourceKey): string {
  return [model, llm, variant, scorer, simulator].join("\n");
}

/** A source in one line; the model is named where it is another than the one that is open. */
export function sourceText(source: SourceKey, model: string | undefined): string {
  const { llm, variant, scorer, simulator } = source;
  const words = llm === "lookup" ? "lookup" : `${briefly(llm)}, ${CAME_FROM[variant]}`;
  const judged = simulator === llm ? scorer : `${scorer} by ${briefly(simulator) || "its authors"}`;
  return `${source.model === model ? "" : `${source.model}: `}${words} · ${judged}`;
}

/** What is shown unless something else is asked for: of the loaded model that with most components. */
export function firstSource(sources: readonly Source[], model: string | undefined): Source | null {
  const own = sources.filter((source) => source.model === model);
  return (own.length ? own : sources).reduce<Source | null>(
    (most, source) => (most === null || source.components > most.components ? source : most),
    null,
  );
}

/** The kinds that have scores, those with most first. */
export function kindsOf(overviews: readonly Overview[]): ComponentKind[] {
  const counts = new Map<ComponentKind, number>();
  for (const { kinds } of overviews)
    for (const { kind, n } of kinds) {
      const known = oneOf(COMPONENT_KINDS, kind);
      if (known) counts.set(known, (counts.get(known) ?? 0) + n);
    }
  return [...counts].sort(([, one], [, other]) => other - one).map(([kind]) => kind);
}

/** Mean scores of one kind, layer by layer. */
export function byLayer({ layers }: Pick<Overview, "layers">, kind: ComponentKind | null): Point[] {
  return layers
    .filter((group): group is Group & { layer: number } => group.layer !== null && group.kind === kind)
    .sort((one, other) => one.layer - other.layer)
    .map(({ layer, mean, n, deviation, table }) => ({ x: layer, y: mean, n, deviation, table }));
}

/** Mean scores by the middle of each bin of log10 density. */
export function byDensity({ density }: Pick<Overview, "density">): Point[] {
  return density.flatMap(({ low, high, n, mean }) =>
    mean === null ? [] : [{ x: (low + high) / 2, y: mean, n, deviation: null, table: null }],
  );
}

/** The histograms from the first bin that any of them has something in to the last, so that they keep their bins. */
export function trimmed(histograms: readonly (readonly Bin[])[]): Bin[][] {
  const filled = histograms.flatMap((bins) => bins.flatMap(({ n }, i) => (n > 0 ? [i] : [])));
  if (filled.length === 0) return histograms.map((bins) => [...bins]);
  const [first, last] = [Math.min(...filled), Math.max(...filled)];
  return histograms.map((bins) => bins.slice(first, last + 1));
}

/** All numbers of an overview as one CSV: what each is of, and over how many. */
export function overviewCsv(overviews: readonly Overview[]): string {
  return csvText(
    [
      "model",
      "llm",
      "variant",
      "scorer",
      "simulator",
      "of",
      "kind",
      "low",
      "high",
      "n",
      "mean",
      "deviation",
      "table",
    ],
    overviews.flatMap(({ source, kinds, layers, distribution, density }) => {
      const { model, llm, variant, scorer, simulator } = source;
      const own = [model, llm, variant, scorer, simulator];
      return [
        ...kinds.map((group) => [
          ...own,
          "kind",
          group.kind,
          null,
          null,
          group.n,
          group.mean,
          group.deviation,
          group.table,
        ]),
        ...layers.map((group) => [
          ...own,
          "layer",
          group.kind,
          group.layer,
          group.layer,
          group.n,
          group.mean,
          group.deviation,
          group.table,
        ]),
        ...distribution.map((bin) => [...own, "score", null, bin.low, bin.high, bin.n, bin.mean, null, null]),
        ...density.map((bin) => [
          ...own,
          "log10 density",
          null,
          bin.low,
          bin.high,
          bin.n,
          bin.mean,
          null,
          null,
        ]),
      ];
    }),
  );
}
