import { useAtlas } from "../../api/atlas";
import { useOverview, useSources } from "../../api/explanations";
import { useStatus } from "../../api/queries";
import { Notice } from "../../components/Notice";
import { useTitle } from "../../components/useTitle";
import { useQueryString } from "../../url/address";
import { readOverviewView, writeOverviewView } from "../../url/overviewView";
import { NoAtlas } from "../atlas/NoAtlas";
import { INPUT } from "../sae/Field";
import { ExplainForm } from "./ExplainForm";
import { useExplaining } from "./Explaining";
import { ExplainProgressLine } from "./ExplainProgressLine";
import { OverviewCharts } from "./OverviewCharts";
import { firstSource, keyOf } from "./overview";
import { namesOf } from "./request";
import { SourceChoice } from "./SourceChoice";
import { Unexplained } from "./Unexplained";

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
            <SourceChoice
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
                <OverviewCharts overviews={shown} view={view} model={model} onChange={change} />
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
