import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useRef } from "react";
import { componentQuery, useAtlas, useComponent, useOnPrompt } from "../../api/atlas";
import { Failure } from "../../api/client";
import { useStatus } from "../../api/queries";
import type { AtlasStatus, Component } from "../../api/types";
import { useAsked } from "../../components/asked";
import { Notice } from "../../components/Notice";
import { useKeys } from "../../components/useKeys";
import { useTitle } from "../../components/useTitle";
import { go, useQueryString } from "../../url/address";
import { readComponentView, writeComponentView } from "../../url/componentView";
import { kindOf, readComponent } from "../../url/ids";
import { componentAddress } from "../../url/route";
import { useChosen } from "../../url/useChosen";
import { NoAtlas } from "../atlas/NoAtlas";
import { ExplanationsPanel } from "../explain/ExplanationsPanel";
import { ChooseAutoencoder } from "./ChooseAutoencoder";
import { ExamplesPanel } from "./ExamplesPanel";
import { Header } from "./Header";
import { NotHeld } from "./NotHeld";
import { OnPromptPanel } from "./OnPromptPanel";
import { RelationsPanel } from "./RelationsPanel";
import { StatsPanel } from "./StatsPanel";
import { SKIPPED, strongestAt } from "./strongest";
import { TokensPanel } from "./TokensPanel";
import { TypesPanel } from "./TypesPanel";

/** What one component does: on a prompt of one's own, over the atlas, and by its weights. */
export function ComponentPage({ named }: { named: string }) {
  const status = useStatus();
  // What the model has is known first, so that a slip in the address is answered in one sentence.
  if (!status.data) return <main className="p-3">{status.error && <Notice error={status.error} />}</main>;
  const found = readComponent(named, status.data.model);
  if ("id" in found) return <Page id={found.id} />;
  const failure = new Failure("bad_node", found.problem, "Type another id into the field above, or press g.");
  return (
    <main className="mx-auto max-w-[1680px] p-3">
      <Notice error={failure} />
    </main>
  );
}

function Page({ id }: { id: string }) {
  const [view, change] = useQueryString(readComponentView, writeComponentView);
  const asked = useAsked();
  const status = useStatus();
  const atlas = useAtlas();
  const component = useComponent(id);
  const prompt = useOnPrompt(id, asked?.prompt ?? "", asked?.bos ?? false);
  const area = useRef<HTMLTextAreaElement>(null);
  const { previous, next } = useNeighbours(component.isPlaceholderData ? undefined : component.data);
  useTitle(id);
  useKeys(
    useMemo(() => {
      // The scroll stays where it is: one compares the same part of one component after the other.
      const to = (neighbour: string | null) => () => {
        if (neighbour !== null) go(componentAddress(neighbour, null) + window.location.search);
      };
      return { ArrowLeft: to(previous), ArrowRight: to(next), "/": () => area.current?.focus() };
    }, [previous, next]),
  );

  if (component.error)
    return (
      <main className="mx-auto flex max-w-3xl flex-col gap-3 p-3">
        <Header id={id} component={null} previous={null} next={null} model={status.data?.model} />
        <Notice error={component.error} onRetry={() => component.refetch()} />
        {kindOf(id) === "latent" && <ChooseAutoencoder id={id} />}
      </main>
    );
  const kind = kindOf(id);
  // The answer about another component stays until the next is here, unless it is of another shape.
  const data = component.data?.kind === kind ? component.data : undefined;
  const stale = component.isPlaceholderData;
  const read = prompt.data && (prompt.data.pairs !== null) === (kind === "attn") ? prompt.data : undefined;
  const info = atlas.data?.atlas ?? null;
  const max = strongest(data);
  const skip = info?.skip ?? SKIPPED;
  return (
    <main className="mx-auto flex max-w-[1680px] flex-col gap-3 p-3">
      <Header id={id} component={data ?? null} previous={previous} next={next} model={status.data?.model} />
      {status.error && <Notice error={status.error} />}
      <div className="grid grid-cols-[minmax(0,1fr)] items-start gap-3 lg:grid-cols-[minmax(0,1fr)_27rem]">
        <div className="flex min-w-0 flex-col gap-3 max-lg:contents">
          <ExplanationsPanel
            id={id}
            model={status.data?.model.name ?? "smollm2"}
            refused={refusal(atlas.data, data)}
            view={view}
            onChange={change}
          />
          <OnPromptPanel
            id={id}
            kind={kind}
            answer={read}
            stale={prompt.isPlaceholderData}
            working={prompt.isFetching}
            error={prompt.error}
            max={max}
            skip={skip}
            direction={view.direction}
            startToken={status.data?.model.bos ?? null}
            limit={status.data?.limits.max_prompt_chars}
            area={area}
            onRetry={prompt.refetch}
            onChange={change}
          />
          {kind === "latent" && prompt.error && <ChooseAutoencoder id={id} />}
          <div className={`order-2 flex min-w-0 flex-col gap-3 ${stale ? "stale" : ""}`}>
            {atlas.data && info === null ? (
              <NoAtlas
                what="which text makes each fire most, how often and how strongly, with examples from all of its range."
                problem={atlas.data.problem}
              />
            ) : data && info && data.stats === null ? (
              <NotHeld info={info} id={data.id} layer={data.layer} />
            ) : (
              <ExamplesPanel
                id={data?.id ?? id}
                component={data}
                max={max}
                view={view}
                info={info}
                onChange={change}
              />
            )}
          </div>
        </div>
        <div className="flex min-w-0 flex-col gap-3 max-lg:contents">
          {(data === undefined || data.stats !== null) && (
            <div className={`order-1 flex flex-col gap-3 ${stale ? "stale" : ""}`}>
              <StatsPanel
                kind={kind}
                stats={data?.stats ?? null}
                mark={
                  read && !prompt.isPlaceholderData ? markOf(read.writes ?? read.activations, skip) : null
                }
              />
              {kind === "attn" && (
                <TypesPanel types={data?.types ?? null} length={info?.context_length ?? null} />
              )}
            </div>
          )}
          <div className="order-3 flex flex-col gap-3">
            <TokensPanel id={id} kind={kind} />
            <RelationsPanel id={id} kind={kind} hasAtlas={info !== null && data?.stats !== null} />
          </div>
        </div>
      </div>
    </main>
  );
}

/** Why no words can be found or scored for a component; null when they can. */
function refusal(atlas: AtlasStatus | undefined, component: Component | undefined): string | null {
  if (atlas === undefined) return null;
  if (atlas.atlas === null)
    return "Words are found and scored on the examples of an atlas, and there is none of this model yet: collect one below.";
  return component && component.stats === null
    ? "Words are found and scored on examples, and this atlas holds none of it."
    : null;
}

/** The components before and after this one, read ahead so that the arrow keys answer at once. */
function useNeighbours(component: Component | undefined): { previous: string | null; next: string | null } {
  const client = useQueryClient();
  const among = useChosen();
  const previous = component?.previous ?? null;
  const next = component?.next ?? null;
  useEffect(() => {
    for (const neighbour of [next, previous])
      if (neighbour) client.prefetchQuery(componentQuery(neighbour, among));
  }, [previous, next, client, among]);
  return { previous, next };
}

/** The largest activation that the component's examples are coloured by; 0 when there is none. */
function strongest(component: Component | undefined): number {
  if (!component) return 0;
  if (component.kind === "attn") return component.top[0]?.activation ?? 0;
  return Math.max(0, component.stats?.maximum ?? 0);
}

/** The strongest activation on the prompt: the histogram shows where it falls. */
function markOf(activations: readonly number[], skip: number): number | null {
  const at = strongestAt(activations, skip);
  return at === null ? null : (activations[at] ?? null);
}
