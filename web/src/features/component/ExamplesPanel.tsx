import { useMemo } from "react";
import type { AtlasInfo, Component } from "../../api/types";
import { Lazily } from "../../components/Lazily";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { count } from "../../format/number";
import { type ComponentView, GROUPS, type Group, type Layout } from "../../url/componentView";
import { ExampleRow } from "./ExampleRow";
import { sectionsOf, sizeOf } from "./examples";
import { Legend } from "./Legend";

const NAMES: Record<Group, string> = { top: "Top", bottom: "Bottom", bands: "Bands", random: "Random" };
const TITLES: Record<Group, string> = {
  top: "The contexts with the largest activations",
  bottom: "The contexts with the most negative activations",
  bands: "Random contexts from each octave below the maximum: what it does when it fires less",
  random: "Contexts drawn from all of the atlas: what it usually does",
};
/** Examples that are made at once; those after them when they come near the window. */
const AT_ONCE = 8;
/** The place kept for one that is not made yet, about as high as it will be. */
const KEPT: Record<Layout, string> = { stacked: "h-21 max-sm:h-36", line: "h-7 max-sm:h-12" };

/** Real text with what the component does on it, from the strongest down to chance. */
export function ExamplesPanel({
  id,
  component,
  max,
  view,
  info,
  onChange,
}: {
  id: string;
  /** undefined: not here yet. */
  component: Component | undefined;
  max: number;
  view: ComponentView;
  info: AtlasInfo | null;
  onChange: (change: Partial<ComponentView>, how?: "push" | "replace") => void;
}) {
  const sections = useMemo(
    () => (component ? sectionsOf(component, view.group) : []),
    [component, view.group],
  );
  // A head's values are lengths, and many neurons cannot be negative.
  const hasBottom = component !== undefined && component.bottom.length > 0;
  const empty = component !== undefined && sizeOf(component, view.group) === 0;
  return (
    <Panel
      title="Examples"
      actions={
        <>
          <Segmented<Group>
            label="Examples"
            value={view.group}
            onChange={(group) => onChange({ group }, "replace")}
            choices={GROUPS.filter((value) => value !== "bottom" || value === view.group || hasBottom).map(
              (value) => {
                const n = component ? sizeOf(component, value) : null;
                return {
                  value,
                  title: TITLES[value],
                  label: (
                    <>
                      {NAMES[value]}
                      {n !== null && <span className="num pl-1 text-2xs text-ink-3">{n}</span>}
                    </>
                  ),
                };
              },
            )}
          />
          <span className="ml-auto flex items-center gap-2">
            <Segmented<Layout>
              label="Layout"
              value={view.layout}
              onChange={(layout) => onChange({ layout }, "replace")}
              choices={[
                { value: "stacked", label: "Stacked", title: "The whole text, over several lines" },
                {
                  value: "line",
                  label: "One line",
                  title: "A line each, the strongest tokens under each other",
                },
              ]}
            />
          </span>
        </>
      }
    >
      <div data-testid="examples" className="border-t border-line">
        {component === undefined ? (
          <div role="status" className="flex flex-col gap-2 p-3">
            <span className="sr-only">Reading the examples</span>
            {Array.from({ length: 6 }, (_, i) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
              <div key={i} className="skeleton h-16" />
            ))}
          </div>
        ) : empty ? (
          <p className="px-3 py-8 text-center text-xs text-ink-2">{nothing(view.group, component)}</p>
        ) : (
          sections.map(({ key, heading, about, examples }) => (
            <section key={key} aria-label={heading ?? NAMES[view.group]}>
              {heading !== null && (
                <h3
                  className="num sticky top-0 z-[1] border-b border-line bg-raised px-3 py-1 text-2xs font-medium text-ink-2"
                  title={about ?? undefined}
                >
                  {heading}
                </h3>
              )}
              {examples.length === 0 && (
                <p className="border-b border-line px-3 py-2 text-xs text-ink-3">
                  No context is in this range.
                </p>
              )}
              <ol>
                {examples.map((example, i) => {
                  const row = (
                    <ExampleRow
                      id={id}
                      example={example}
                      max={max}
                      layout={view.layout}
                      direction={view.direction}
                    />
                  );
                  return (
                    <li
                      key={`${example.context} ${example.start} ${example.rank}`}
                      data-example={`${key} ${example.rank}`}
                      className="border-b border-line last:border-b-0"
                    >
                      {i < AT_ONCE ? row : <Lazily place={KEPT[view.layout]}>{row}</Lazily>}
                    </li>
                  );
                })}
              </ol>
            </section>
          ))
        )}
      </div>
      {component && info && (
        <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-1 border-t border-line px-3 py-1.5">
          <p className="text-2xs text-ink-3">
            {count(info.tokens)} tokens in contexts of {info.context_length}, from {info.corpus}
            {info.imported !== null && `, imported from ${info.imported}`}
          </p>
          <Legend
            kind={component.kind === "attn" ? "attn" : "neuron"}
            negative={(component.stats?.minimum ?? 0) < 0}
            max={max}
            ofAtlas
          />
        </div>
      )}
    </Panel>
  );
}

function nothing(group: Group, component: Component): string {
  if (group === "bottom")
    return component.kind === "attn"
      ? "A head’s values are lengths, which have no negative end."
      : component.kind === "latent"
        ? "A latent is never below zero."
        : "The most negative activations are not kept for neurons that cannot be negative.";
  if (component.stats && component.stats.maximum <= 0)
    return "It never fired on this corpus, so no example is its strongest.";
  return "The atlas has no such example of it.";
}
