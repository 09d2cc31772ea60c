import type { ReactNode } from "react";
import { useAutoencoders } from "../../api/autoencoders";
import { Link } from "../../components/Link";
import { Panel } from "../../components/Panel";
import { amount, count, percent } from "../../format/number";
import { autoencoderAddress } from "../../url/route";
import { totalOf } from "./density";
import type { Run } from "./runs";
import type { Followed } from "./useTrainingLogs";

const COLUMNS = [
  ["Loss", "The whole loss"],
  ["FVU", "Share of the variance that is not reconstructed: 0 perfect, 1 as good as the mean"],
  ["L0", "Latents that fire on a token, on average"],
  ["CE recovered", "Of the loss that the model has without the site: 100% as if untouched"],
  ["Dead", "Latents that fired on nothing for long"],
  ["Nearly dead", "Latents that fire on fewer than one token in a million, or on none of what was read"],
  ["Resampled", "Latents that were given new weights so far"],
] as const;

/** The legend of the curves, with the newest numbers. A box switches an autoencoder's lines off. */
export function RunTable({
  own,
  runs,
  trainings,
  hidden,
  actions,
  onHidden,
  onPoint,
}: {
  /** The training that the page is of. */
  own: string;
  runs: readonly Run[];
  trainings: ReadonlyMap<string, Followed>;
  hidden: readonly string[];
  actions: ReactNode;
  onHidden: (hidden: string[]) => void;
  /** Hears which one is pointed at. */
  onPoint: (key: string | null) => void;
}) {
  const shelf = useAutoencoders();
  const there = new Set(shelf.data?.map(({ name }) => name));
  return (
    <Panel title="Autoencoders" actions={actions}>
      <div className="relative overflow-x-auto border-t border-line">
        <table className="w-full border-collapse text-xs" aria-label="Autoencoders in training">
          <thead>
            <tr className="border-b border-line text-ink-2">
              <th className="sticky left-0 bg-panel px-3 text-left font-normal">Autoencoder</th>
              {COLUMNS.map(([name, title]) => (
                <th key={name} title={title} className="h-6.5 px-2 text-right font-normal whitespace-nowrap">
                  {name}
                </th>
              ))}
              <th>
                <span className="sr-only">Its report</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {runs.map(({ key, name, training, colour, points }) => {
              const newest = points.at(-1);
              const ce = points.findLast(({ ce_recovered }) => ce_recovered !== null)?.ce_recovered;
              const total = newest ? totalOf(newest.density) : 0;
              const resampled = points.reduce((sum, point) => sum + point.resampled, 0);
              const running = trainings.get(training)?.training?.stage === "running";
              return (
                <tr
                  key={key}
                  data-run={name}
                  onPointerEnter={() => onPoint(key)}
                  onPointerLeave={() => onPoint(null)}
                  className="h-7 border-b border-line bg-panel last:border-b-0 hover:bg-raised"
                >
                  <td className="sticky left-0 bg-inherit px-3 max-sm:max-w-52">
                    <label className="flex items-center gap-2">
                      <input
                        type="checkbox"
                        checked={!hidden.includes(key)}
                        title="Show its lines"
                        aria-label={`Show the lines of ${name}`}
                        onChange={(event) =>
                          onHidden(
                            event.target.checked ? hidden.filter((one) => one !== key) : [...hidden, key],
                          )
                        }
                      />
                      <span
                        className="h-1 w-4 shrink-0 rounded-full"
                        style={{ background: colour }}
                        aria-hidden="true"
                      />
                      <span className="truncate font-mono">{name}</span>
                      {training !== own && <span className="truncate text-2xs text-ink-3">{training}</span>}
                    </label>
                  </td>
                  <Cell name="loss" text={newest ? amount(newest.loss) : "–"} />
                  <Cell name="fvu" text={newest ? amount(newest.fvu) : "–"} />
                  <Cell name="l0" text={newest ? amount(newest.l0) : "–"} />
                  <Cell name="ce_recovered" text={ce == null ? "–" : percent(ce)} />
                  <Cell name="dead" text={newest ? of(newest.dead, total) : "–"} />
                  <Cell name="nearly_dead" text={newest ? of(newest.nearly_dead, total) : "–"} />
                  <Cell name="resampled" text={newest ? count(resampled) : "–"} />
                  <td className="px-3 text-right whitespace-nowrap">
                    {there.has(key) ? (
                      <Link
                        href={autoencoderAddress(key)}
                        className="text-ink-2 underline decoration-line-strong underline-offset-2 hover:text-ink"
                      >
                        what it is worth
                      </Link>
                    ) : (
                      <span className="text-2xs text-ink-3">{running ? "usable once it stops" : ""}</span>
                    )}
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

function of(n: number, total: number): string {
  return n === 0 || total === 0 ? count(n) : `${count(n)} (${percent(n / total)})`;
}

function Cell({ name, text }: { name: string; text: string }) {
  return (
    <td className="num px-2 text-right" data-column={name}>
      {text}
    </td>
  );
}
