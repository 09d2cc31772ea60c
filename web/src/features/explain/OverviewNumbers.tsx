import type { Overview } from "../../api/types";
import { Panel } from "../../components/Panel";
import { count } from "../../format/number";
import { scoreText } from "../../format/score";
import type { ComponentKind } from "../../url/ids";
import { Stroke } from "../sae/LineChart";
import { KIND_NAMES } from "./overview";

/** How many have words and a score, and the means by kind: a row for each source and kind. */
export function OverviewNumbers({
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
