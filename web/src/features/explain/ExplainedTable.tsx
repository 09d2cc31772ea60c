import type { Explanation } from "../../api/types";
import { useAsked } from "../../components/asked";
import { ComponentLink } from "../../components/ComponentLink";
import { Trust } from "../../components/Trust";
import { useActiveRow } from "../../components/useActiveRow";
import { useKeys } from "../../components/useKeys";
import { Words } from "../../components/Words";
import { percent } from "../../format/number";
import { headlineOf, writtenText } from "../../format/score";
import { go } from "../../url/address";
import { componentAddress } from "../../url/route";

/** Components with their words and how far to trust them; each row leads to its component. */
export function ExplainedTable({
  label,
  rows,
  linked = true,
  start = false,
}: {
  label: string;
  rows: readonly Explanation[];
  /** Whether the components are of the model that is open: those of another one have no page here. */
  linked?: boolean;
  /** Whether who wrote the words is told: where rows are of several explainers. */
  start?: boolean;
}) {
  const asked = useAsked();
  const { active, setActive, move, body } = useActiveRow(rows.length);
  const open = () => {
    const row = rows[active];
    if (!row || !linked) return;
    go(componentAddress(row.component, asked));
    window.scrollTo(0, 0);
  };
  useKeys({ j: () => move(1), k: () => move(-1), Enter: open, c: open });
  return (
    <div className="relative overflow-x-auto border-t border-line">
      <table
        className="w-full border-collapse text-xs max-sm:block max-sm:[&_tbody]:block"
        aria-label={label}
      >
        <thead className="max-sm:hidden">
          <tr className="border-b border-line text-ink-2">
            <th className="h-6.5 px-3 text-left font-normal">Component</th>
            <th className="px-2 text-left font-normal">Words</th>
            {start && <th className="px-2 text-left font-normal">By</th>}
            <th className="px-2 text-right font-normal" title="Share of the atlas’s tokens that it fires on">
              Density
            </th>
            <th className="px-3 text-left font-normal">Score, beside what is reached without words</th>
          </tr>
        </thead>
        <tbody ref={body}>
          {rows.map((row, i) => (
            <tr
              key={`${row.id} ${row.component}`}
              aria-selected={i === active}
              data-component={row.component}
              onClick={() => setActive(i)}
              className={`border-b border-line align-baseline last:border-b-0 hover:bg-raised max-sm:block max-sm:py-1.5 ${
                i === active ? "bg-raised shadow-[inset_2px_0_0_var(--focus)]" : ""
              }`}
            >
              <td className="px-3 py-1 whitespace-nowrap max-sm:block max-sm:py-0">
                {linked ? (
                  <ComponentLink node={row.component} />
                ) : (
                  <span className="font-mono">{row.component}</span>
                )}
              </td>
              <td className="w-full px-2 py-1 break-words max-sm:block max-sm:px-3" data-column="words">
                <Words text={row.text} />
              </td>
              {start && (
                <td className="max-w-48 truncate px-2 text-2xs text-ink-3 max-sm:hidden">
                  {writtenText(row)}
                </td>
              )}
              <td className="num px-2 text-right text-ink-2 max-sm:hidden">
                {row.density === null ? "–" : percent(row.density)}
              </td>
              <td className="px-3 whitespace-nowrap max-sm:block max-sm:text-2xs">
                <Trust score={headlineOf(row)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
