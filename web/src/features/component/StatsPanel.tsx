import type { ComponentStats } from "../../api/types";
import { Panel } from "../../components/Panel";
import { count, percent, signed } from "../../format/number";
import type { ComponentKind } from "../../url/ids";
import { HistogramChart } from "./HistogramChart";

/** How often and how strongly it fires over the atlas. */
export function StatsPanel({
  kind,
  stats,
  mark,
}: {
  kind: ComponentKind;
  /** null: not here yet. */
  stats: ComponentStats | null;
  /** The strongest activation on the prompt, to show among the others. */
  mark: number | null;
}) {
  return (
    <Panel
      title="Over the atlas"
      actions={
        <span className="ml-auto text-2xs text-ink-3">
          {kind === "attn" ? "length of the head’s write" : "activation"}
          {stats?.tokens != null && `, ${count(stats.tokens)} tokens`}
        </span>
      }
    >
      <div className="flex flex-col gap-2.5 px-3 pb-3">
        {stats === null ? (
          <div role="status" className="skeleton h-[204px]">
            <span className="sr-only">Reading the atlas</span>
          </div>
        ) : (
          <>
            {kind !== "attn" && stats.density === 0 && stats.maximum <= 0 && (
              <p role="note" className="rounded border border-line bg-raised px-2.5 py-1.5 text-xs">
                It never fired: no token of the atlas gives an activation above zero.
              </p>
            )}
            {stats.histogram ? (
              <HistogramChart histogram={stats.histogram} mark={mark} />
            ) : (
              <p className="text-xs text-ink-3">This atlas was imported without a histogram.</p>
            )}
            <dl className="grid grid-cols-4 gap-x-3 gap-y-2">
              <Fact
                name="density"
                title="Share of tokens with an activation above zero"
                value={stats.density === null ? "–" : percent(stats.density)}
              />
              <Fact
                name="strong"
                title="Share of tokens within three octaves of the largest size: above an eighth of it"
                value={stats.strong === null ? "–" : percent(stats.strong)}
              />
              <Fact name="maximum" title="The largest activation" value={signed(stats.maximum)} />
              <Fact name="minimum" title="The smallest activation" value={signed(stats.minimum)} />
              <Fact name="mean" title="Mean over all tokens" value={signed(stats.mean)} />
              <Fact
                name="sd"
                title="Standard deviation over all tokens"
                value={signed(Math.sqrt(stats.variance)).replace("+", "")}
              />
              <Fact
                name="skew"
                title="Third standardised moment: 0 when both sides are alike; rare large activations make it large"
                value={signed(stats.skewness)}
              />
              <Fact
                name="kurtosis"
                title="Fourth standardised moment: 3 for a normal distribution"
                value={signed(stats.kurtosis)}
              />
            </dl>
          </>
        )}
      </div>
    </Panel>
  );
}

function Fact({ name, title, value }: { name: string; title: string; value: string }) {
  return (
    <div title={title}>
      <dt className="text-2xs text-ink-3">{name}</dt>
      <dd className="num text-xs font-medium">{value}</dd>
    </div>
  );
}
