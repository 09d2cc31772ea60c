import { useWeights } from "../../api/atlas";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Scores } from "../../components/Scores";
import type { ComponentKind } from "../../url/ids";

/** What the weights alone say of tokens: which ones the component's write pushes, and which excite it. */
export function TokensPanel({ id, kind }: { id: string; kind: ComponentKind }) {
  const { data, error, isPlaceholderData, refetch } = useWeights(id);
  return (
    <Panel
      title="Tokens, by its weights"
      actions={
        <span
          className="ml-auto text-2xs text-ink-3"
          title="Logits relative to the vocabulary’s mean, after the final norm’s gain with its scale held at 1"
        >
          {kind === "attn" ? "logits of its mean write" : "logits of a write of length 1"}
        </span>
      }
    >
      <div className="px-3 pb-3">
        {error ? (
          <Notice error={error} onRetry={() => refetch()} />
        ) : data ? (
          <div
            className={`grid grid-cols-[repeat(auto-fit,minmax(7.25rem,1fr))] gap-x-4 gap-y-3 ${isPlaceholderData ? "stale" : ""}`}
          >
            {data.up && data.down ? (
              <>
                <Scores title="Pushes up" scores={data.up} effect />
                <Scores title="Pushes down" scores={data.down} effect />
              </>
            ) : kind !== "attn" ? null : (
              <p className="col-span-full text-xs text-ink-2">
                What a head pushes depends on what it reads: its mean write needs an atlas.
              </p>
            )}
            {data.excited_by ? (
              <Scores title="Excited by" scores={data.excited_by} />
            ) : (
              <section>
                <h3 className="mb-0.5 text-2xs text-ink-2">Excited by</h3>
                <p className="text-xs text-ink-3">{data.note}</p>
              </section>
            )}
          </div>
        ) : (
          <div role="status" className="skeleton h-[198px]">
            <span className="sr-only">Reading the weights</span>
          </div>
        )}
      </div>
    </Panel>
  );
}
