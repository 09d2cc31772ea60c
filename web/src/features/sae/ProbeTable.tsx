import type { Probe } from "../../api/types";
import { count, percent } from "../../format/number";

/** Labels made from the text, and how well few latents tell each; the bar ends at what the whole value can tell. */
export function ProbeTable({ probes }: { probes: readonly Probe[] }) {
  const ks = [...new Set(probes.map(({ k }) => k))].sort((a, b) => a - b);
  const labels = [...new Set(probes.map(({ label }) => label))];
  const of = (label: string, k: number) => probes.find((probe) => probe.label === label && probe.k === k);
  const mean = (k: number) => {
    const all = probes.filter((probe) => probe.k === k);
    return all.reduce((sum, { accuracy }) => sum + accuracy, 0) / Math.max(1, all.length);
  };
  if (labels.length === 0)
    return (
      <p className="px-3 pb-3 text-xs text-ink-2">
        The text had too few tokens of every label to probe. Judge on more tokens.
      </p>
    );
  return (
    <div className="relative overflow-x-auto px-3 pb-3">
      <table className="w-full border-collapse text-xs" aria-label="Probes">
        <thead>
          <tr className="text-2xs text-ink-3">
            <th className="pr-2 text-left font-normal">label</th>
            {ks.map((k) => (
              <th key={k} className="px-2 text-right font-normal" title={`A probe on the best ${k} latents`}>
                {k} latent{k === 1 ? "" : "s"}
              </th>
            ))}
            <th className="px-2 text-right font-normal" title="A probe on the site’s whole value">
              whole value
            </th>
            <th className="w-[30%] pl-2 text-left font-normal max-sm:hidden">from chance to certain</th>
          </tr>
        </thead>
        <tbody>
          {labels.map((label) => {
            const any = of(label, ks.at(-1) as number) ?? of(label, ks[0] as number);
            return (
              <tr
                key={label}
                className="h-5.5"
                title={any ? `${count(any.positives)} tokens have it` : undefined}
              >
                <td className="pr-2 whitespace-nowrap">{label}</td>
                {ks.map((k) => {
                  const probe = of(label, k);
                  return (
                    <td key={k} className="num px-2 text-right">
                      {probe ? percent(probe.accuracy) : "–"}
                    </td>
                  );
                })}
                <td className="num px-2 text-right text-ink-2">{any ? percent(any.ceiling) : "–"}</td>
                <td className="pl-2 max-sm:hidden">
                  {any && (
                    <Track
                      probes={ks.flatMap((k) => of(label, k) ?? [])}
                      ceiling={any.ceiling}
                      chance={any.chance}
                    />
                  )}
                </td>
              </tr>
            );
          })}
          <tr className="h-6 border-t border-line font-medium">
            <td className="pr-2">mean</td>
            {ks.map((k) => (
              <td key={k} className="num px-2 text-right">
                {percent(mean(k))}
              </td>
            ))}
            <td />
            <td className="max-sm:hidden" />
          </tr>
        </tbody>
      </table>
    </div>
  );
}

/** From chance to 1: a dot for each number of latents, and a stroke at what the whole value tells. */
function Track({ probes, ceiling, chance }: { probes: readonly Probe[]; ceiling: number; chance: number }) {
  const at = (accuracy: number) =>
    `${100 * Math.max(0, Math.min(1, (accuracy - chance) / Math.max(1e-6, 1 - chance)))}%`;
  return (
    <span className="relative block h-2 rounded-full bg-raised" aria-hidden="true">
      {probes.map(({ k, accuracy }, i) => (
        <span
          key={k}
          className="absolute top-1/2 size-2 -translate-x-1/2 -translate-y-1/2 rounded-full bg-active"
          style={{ left: at(accuracy), opacity: i === probes.length - 1 ? 1 : 0.5 }}
        />
      ))}
      <span className="absolute top-[-1px] h-2.5 w-0.5 bg-ink-2" style={{ left: at(ceiling) }} />
    </span>
  );
}
