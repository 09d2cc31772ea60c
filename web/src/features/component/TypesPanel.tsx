import type { HeadTypes } from "../../api/types";
import { Panel } from "../../components/Panel";
import { percent, signed } from "../../format/number";

const TYPES: readonly (readonly [Exclude<keyof HeadTypes, "entropy">, string, string])[] = [
  [
    "previous",
    "token before",
    "Mean attention to the token just before: a previous-token head has much of it",
  ],
  ["current", "token itself", "Mean attention to the very token that attends"],
  [
    "first",
    "first token",
    "Mean attention to the first token of the text: often where a head rests that has nothing to do",
  ],
  [
    "same",
    "same token before",
    "Mean attention to earlier occurrences of the token that attends: a duplicate-token head",
  ],
  [
    "induction",
    "what followed it",
    "Mean attention to the tokens just after earlier occurrences of this one: an induction head continues what was seen before (Olsson et al. 2022)",
  ],
];

/** How much the head attends as known types of head do. */
export function TypesPanel({
  types,
  length,
}: {
  /** null: not here yet. */
  types: HeadTypes | null;
  /** Tokens of a context: the entropy of a row is at most its logarithm. */
  length: number | null;
}) {
  const top = types ? Math.max(...TYPES.map(([name]) => types[name] ?? 0)) : 0;
  return (
    <Panel
      title="What it attends to"
      actions={<span className="ml-auto text-2xs text-ink-3">mean attention weight</span>}
    >
      <div className="px-3 pb-3">
        {types === null ? (
          <div role="status" className="skeleton h-[127px]">
            <span className="sr-only">Reading the atlas</span>
          </div>
        ) : (
          <dl className="grid grid-cols-[auto_minmax(0,1fr)_auto] items-center gap-x-2 gap-y-1 text-xs">
            {TYPES.map(([name, label, title]) => {
              const share = types[name];
              return (
                <div key={name} className="col-span-3 grid grid-cols-subgrid items-center" title={title}>
                  <dt className={share === top && top > 0 ? "font-medium" : "text-ink-2"}>{label}</dt>
                  <dd className="contents">
                    <Bar share={share ?? 0} />
                    <span className="num text-right">{share === null ? "–" : percent(share)}</span>
                  </dd>
                </div>
              );
            })}
            <div
              className="col-span-3 mt-1 grid grid-cols-subgrid items-center border-t border-line pt-1.5"
              title="How widely it spreads: 0 for a single token, the logarithm of their number for all alike"
            >
              <dt className="text-ink-2">spread</dt>
              <dd className="contents">
                <Bar share={length && types.entropy !== null ? types.entropy / Math.log(length) : 0} plain />
                <span className="num text-right">{signed(types.entropy).replace("+", "")} nats</span>
              </dd>
            </div>
          </dl>
        )}
      </div>
    </Panel>
  );
}

function Bar({ share, plain = false }: { share: number; plain?: boolean }) {
  return (
    <span className="block h-2 overflow-hidden rounded-[2px] bg-raised" aria-hidden="true">
      <span
        className={`block h-full ${plain ? "bg-ink-3" : "bg-attended"}`}
        style={{ width: `${100 * Math.min(1, Math.max(0, share))}%` }}
      />
    </span>
  );
}
