import { Fragment } from "react";
import type { Token } from "../../api/types";
import { effectBackground, largest } from "../../colour/scale";
import { TokenText } from "../../components/TokenText";
import { signed } from "../../format/number";

/** The prompt token by token; a click explains the prediction after one. `effects`, if there, colour them. */
export function TokenStrip({
  tokens,
  at,
  effects,
  onPick,
}: {
  tokens: readonly Token[];
  at: number;
  effects: readonly number[] | null;
  onPick: (position: number) => void;
}) {
  const max = effects ? largest(effects) : 0;
  return (
    <div className="flex max-h-44 flex-wrap gap-x-px gap-y-1 overflow-y-auto p-px" data-testid="tokens">
      {tokens.map((token) => {
        const effect = effects?.[token.position];
        const chosen = token.position === at;
        const about = `token ${token.position} · id ${token.id}${effect === undefined ? "" : ` · effect ${signed(effect)}`}`;
        return (
          <Fragment key={token.position}>
            <button
              type="button"
              title={`${about}\nClick to explain the prediction after it`}
              aria-pressed={chosen}
              aria-label={`${token.text}, ${about}`}
              onClick={() => onPick(token.position)}
              style={{ background: effect === undefined ? undefined : effectBackground(effect, max) }}
              className={`h-5.5 rounded-[3px] px-[3px] text-xs hover:outline-1 hover:outline-line-strong ${
                chosen ? "shadow-[inset_0_-2px_0_var(--ink)]" : ""
              } ${token.position > at ? "opacity-50" : ""} ${effects ? "" : "bg-raised"}`}
            >
              <TokenText text={token.text} />
            </button>
            {token.text.includes("\n") && <span className="basis-full" />}
          </Fragment>
        );
      })}
    </div>
  );
}
