import { useRef } from "react";
import type { Ablation } from "../../api/types";
import { Button } from "../../components/Button";
import { ComponentLink } from "../../components/ComponentLink";
import { Icon } from "../../components/Icon";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Tick } from "../../components/Tick";
import { useSize } from "../../components/useSize";
import { seconds, signed } from "../../format/number";
import type { View } from "../../url/view";
import { disagrees, type Row } from "./nodeRows";
import { ScatterPlot } from "./ScatterPlot";
import type { Verification } from "./useVerification";

const TOPS = [30, 100, 300, 1000] as const;
/** How many nodes "Verify" measures until another number is chosen. */
export const VERIFIED = 100;

const ABLATION_TITLES: Record<Ablation, string> = {
  zero: "Each node’s write is set to zero",
  mean: "Each node’s write becomes its mean over the prompt’s other positions",
  resample: "Each node’s write becomes the one on the second prompt, at the aligned position",
};

/** What is measured, how, and how far the estimate was off. */
export function VerifyPanel({
  verification,
  rows,
  view,
  goal,
  count,
  active,
  onCount,
  onVerify,
  onStop,
  onRetry,
  onView,
  onPick,
}: {
  verification: Verification;
  /** Every row that was measured, whatever the table's filters. */
  rows: readonly Row[];
  view: Pick<View, "ablation" | "renormalise" | "second" | "disagree" | "verify">;
  goal: "D" | "S";
  /** How many nodes the button measures. */
  count: number;
  active: string | null;
  onCount: (count: number) => void;
  onVerify: () => void;
  onStop: () => void;
  onRetry: () => void;
  onView: (part: Partial<View>) => void;
  onPick: (id: string) => void;
}) {
  const { run, agreement, error, waiting } = verification;
  const all = run === null && verification.top >= count;
  return (
    <Panel
      title="Verified effects"
      actions={
        <div className="ml-auto flex flex-wrap items-center gap-x-2.5 gap-y-1.5">
          <label className="flex items-center gap-1 text-xs text-ink-2">
            top
            <select
              aria-label="How many nodes to verify"
              value={count}
              title="How many of the most promising nodes to measure"
              onChange={(event) => onCount(Number(event.target.value))}
              className="h-6.5 rounded border border-line bg-panel px-1 text-xs text-ink"
            >
              {[...new Set([...TOPS, count])]
                .sort((a, b) => a - b)
                .map((top) => (
                  <option key={top}>{top}</option>
                ))}
            </select>
          </label>
          <label className="flex items-center gap-1 text-xs text-ink-2">
            ablate to
            <select
              aria-label="Ablate to"
              value={view.ablation}
              title={`${ABLATION_TITLES[view.ablation]}${
                view.second === null ? ". Resampling needs a second prompt; there is none" : ""
              }`}
              onChange={(event) => onView({ ablation: event.target.value as Ablation })}
              className="h-6.5 w-24 rounded border border-line bg-panel px-1 text-xs text-ink"
            >
              <option value="zero">zero</option>
              <option value="mean">mean</option>
              <option
                value="resample"
                disabled={view.second === null && view.ablation !== "resample"}
                title={view.second === null ? "Resampling reads a second prompt; there is none" : undefined}
              >
                {view.second === null ? "resample (needs a second prompt)" : "resample"}
              </option>
            </select>
          </label>
          <Tick
            label="renormalise cut pairs"
            title={
              view.ablation === "zero"
                ? "Of an attention pair the weight is set to zero; with this, the rest of its row is scaled to sum to 1 again"
                : "Only a weight that is set to zero leaves a row to renormalise"
            }
            checked={view.renormalise}
            disabled={view.ablation !== "zero"}
            onChange={(checked) => onView({ renormalise: checked })}
          />
          {run ? (
            <Button icon="cross" onClick={onStop} title="Stop measuring; what is measured stays">
              Stop
            </Button>
          ) : (
            <Button
              look={verification.rows.size ? "plain" : "strong"}
              disabled={all}
              title={
                all
                  ? `The top ${verification.top} are measured`
                  : `Run the model without each of the ${count} most promising nodes (Shift+V)`
              }
              onClick={onVerify}
            >
              Verify top {count}
            </Button>
          )}
        </div>
      }
    >
      <div
        role="progressbar"
        aria-label="Verified"
        aria-valuemin={0}
        aria-valuemax={run?.total ?? 1}
        aria-valuenow={run?.done ?? 0}
        className={`h-0.5 overflow-hidden ${run ? "bg-raised" : "invisible"}`}
      >
        {run && (
          <div
            className="h-full bg-ink-2 transition-[width] duration-300"
            style={{ width: `${(100 * run.done) / Math.max(1, run.total)}%` }}
          />
        )}
      </div>
      <p className="px-3 pb-2 text-xs text-ink-2">
        <span data-testid="verified-count" aria-live="polite" className="num not-empty:mr-1.5">
          {run
            ? `${run.done} of ${run.total} measured`
            : verification.rows.size
              ? `${verification.rows.size} measured${waiting.size ? `, ${waiting.size} to come` : ""}`
              : waiting.size
                ? "Measuring…"
                : ""}
          {!run && verification.seconds !== null && ` in ${seconds(verification.seconds)}`}
        </span>
        {verification.rows.size === 0 && !run && waiting.size === 0 ? (
          <span>
            Estimates are guesses. Verify runs the model without a node and reads {goal}: the{" "}
            {view.ablation === "zero" ? "node is set to zero" : `node is set to its ${view.ablation} value`}.
            Press <Key>v</Key> for one row, <Key>V</Key> for the top {count}.
          </span>
        ) : (
          <span className="text-ink-3">
            {ABLATION_TITLES[view.ablation].toLowerCase()}
            {view.ablation === "zero" &&
              (view.renormalise
                ? "; of a pair its weight, and its row is renormalised"
                : "; of a pair its weight, and its row is not renormalised")}
          </span>
        )}
      </p>
      {error && <Notice error={error} className="mx-3 mb-2" onRetry={onRetry} />}
      {rows.length >= 3 && (
        <Compared
          rows={rows}
          agreement={agreement}
          disagree={view.disagree}
          active={active}
          onDisagree={(disagree) => onView({ disagree })}
          onPick={onPick}
        />
      )}
    </Panel>
  );
}

function Key({ children }: { children: string }) {
  return (
    <kbd className="rounded border border-line-strong bg-raised px-1 font-mono text-2xs">{children}</kbd>
  );
}

/** The scatter plot, the correlations, and the estimates that were off most. */
function Compared({
  rows,
  agreement,
  disagree,
  active,
  onDisagree,
  onPick,
}: {
  rows: readonly Row[];
  agreement: Verification["agreement"];
  disagree: boolean;
  active: string | null;
  onDisagree: (disagree: boolean) => void;
  onPick: (id: string) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const { width } = useSize(box);
  const wide = width >= 560;
  const off = rows.filter((row) => disagrees(row.estimated_effect, row.verified_effect));
  const worst = [...off]
    .sort((a, b) => Math.abs(b.disagreement ?? 0) - Math.abs(a.disagreement ?? 0))
    .slice(0, 6);
  return (
    <div ref={box} className={`flex gap-5 border-t border-line px-3 py-2.5 ${wide ? "" : "flex-col"}`}>
      {width > 0 && (
        <ScatterPlot
          rows={rows}
          active={active}
          width={wide ? Math.min(380, width * 0.42) : Math.max(160, width - 24)}
          height={220}
          onPick={onPick}
        />
      )}
      <div className="flex min-w-0 flex-1 flex-col gap-2 text-xs">
        <dl className="flex flex-wrap gap-x-5 gap-y-1">
          <Fact
            name="Pearson"
            title="Linear correlation of estimate and measurement, over the last whole run"
            value={agreement ? signed(agreement.pearson) : "–"}
          />
          <Fact
            name="Spearman"
            title="Rank correlation of estimate and measurement, over the last whole run"
            value={agreement ? signed(agreement.spearman) : "–"}
          />
          <Fact name="nodes" title="Nodes the correlations are over" value={String(agreement?.n ?? "–")} />
          <Fact
            name="disagree"
            title="Off by more than 0.1, and by more than half of the larger of the two"
            value={`${off.length} of ${rows.length}`}
          />
        </dl>
        <Tick
          label="only where they disagree"
          title={off.length ? "List these rows alone" : "No estimate here is far off"}
          checked={disagree}
          disabled={!off.length && !disagree}
          onChange={onDisagree}
        />
        {worst.length > 0 && (
          <table className="w-full max-w-md">
            <thead>
              <tr className="text-2xs text-ink-3">
                <th className="text-left font-normal">Most off</th>
                <th>
                  <span className="sr-only">Its row</span>
                </th>
                <th className="text-right font-normal">estimated</th>
                <th className="text-right font-normal">verified</th>
              </tr>
            </thead>
            <tbody>
              {worst.map((row) => (
                <tr key={row.id} className="h-5">
                  <td className="max-w-0 truncate">
                    <ComponentLink node={row.id} />
                  </td>
                  <td className="w-12 text-right">
                    <button
                      type="button"
                      className="text-2xs text-ink-2 hover:text-ink hover:underline"
                      title="Select its row in the table of nodes"
                      aria-label={`Select the row of ${row.id}`}
                      onClick={() => onPick(row.id)}
                    >
                      its row
                    </button>
                  </td>
                  <td className="num w-20 text-right">{signed(row.estimated_effect)}</td>
                  <td className="num w-20 text-right">{signed(row.verified_effect)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {!agreement && (
          <p className="flex items-center gap-1 text-ink-3">
            <Icon name="warning" size={12} /> The correlations are those of a whole run; none has ended yet.
          </p>
        )}
      </div>
    </div>
  );
}

function Fact({ name, title, value }: { name: string; title: string; value: string }) {
  return (
    <div title={title}>
      <dt className="text-2xs text-ink-3">{name}</dt>
      <dd className="num text-sm font-medium">{value}</dd>
    </div>
  );
}
