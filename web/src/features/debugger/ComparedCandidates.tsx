import type { CandidateChange } from "../../api/types";
import { effectShade, largest } from "../../colour/scale";
import { TokenText } from "../../components/TokenText";
import { percent, signed } from "../../format/number";
import type { Compared } from "../../url/view";

/** The next token on both sides: both probabilities, and how the log-probability changes. */
export function ComparedCandidates({
  candidates,
  compared,
  targets,
  distractors,
}: {
  candidates: readonly CandidateChange[];
  compared: Compared;
  targets: readonly string[];
  distractors: readonly string[];
}) {
  const max = largest(candidates.map(({ difference }) => difference));
  const [left, right] = compared === "edited" ? ["before", "after"] : ["first", "second"];
  return (
    <table className="w-full table-fixed border-collapse text-xs" data-testid="compared-candidates">
      <colgroup>
        <col />
        <col className="w-17" />
        <col className="w-17" />
        <col className="w-19" />
      </colgroup>
      <thead>
        <tr className="border-t border-line text-2xs text-ink-3">
          <th className="py-0.5 pl-3 text-left font-normal">token</th>
          <th className="text-right font-normal">{left}</th>
          <th className="text-right font-normal">{right}</th>
          <th className="pr-3 text-right font-normal" title="Difference of the natural log-probabilities">
            Δ log p
          </th>
        </tr>
      </thead>
      <tbody>
        {candidates.map(({ id, text, left: before, right: after, difference }) => {
          const tone = targets.includes(text)
            ? "bg-toward"
            : distractors.includes(text)
              ? "bg-against"
              : "bg-transparent";
          return (
            <tr key={id} className="h-5.5 border-t border-line">
              <td className="truncate pl-3" title={`id ${id} · rank ${before.rank + 1} → ${after.rank + 1}`}>
                <span className={`mr-1.5 inline-block size-1.5 rounded-full align-middle ${tone}`} />
                <TokenText text={text} />
              </td>
              <td className="num text-right" title={`rank ${before.rank + 1}, logit ${signed(before.logit)}`}>
                {percent(before.probability)}
              </td>
              <td className="num text-right" title={`rank ${after.rank + 1}, logit ${signed(after.logit)}`}>
                {percent(after.probability)}
              </td>
              <td className="num pr-3 text-right" style={{ background: grey(difference, max) }}>
                {signed(difference)}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

/** Blue and orange are for the target and the distractor alone; how much a probability moves is grey. */
function grey(value: number, max: number): string {
  return `color-mix(in srgb, var(--ink) ${(Math.abs(effectShade(value, max)) * 16).toFixed(1)}%, transparent)`;
}
