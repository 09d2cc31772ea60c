import type { NodeEffect, Token } from "../../api/types";
import { activationBackground, effectBackground } from "../../colour/scale";
import { Icon } from "../../components/Icon";
import { TokenText } from "../../components/TokenText";
import { signed } from "../../format/number";
import { type ColumnInfo, groupOf, type Maxima, type NumberColumn } from "./nodeRows";

export const ROW_HEIGHT = 27;

/** One node of the table. */
export function NodeRow({
  node,
  tokens,
  index,
  open,
  active,
  maxima,
  columns,
  onClick,
}: {
  node: NodeEffect;
  tokens: readonly Token[];
  index: number;
  open: boolean;
  active: boolean;
  maxima: Maxima;
  columns: readonly ColumnInfo[];
  onClick: () => void;
}) {
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      data-node={node.id}
      onClick={onClick}
      style={{ height: ROW_HEIGHT }}
      className={`node-grid cursor-pointer border-b border-line text-xs hover:bg-raised ${
        active ? "bg-raised shadow-[inset_2px_0_0_var(--focus)]" : ""
      }`}
    >
      <div role="cell" className="flex min-w-0 items-center px-2">
        <button
          type="button"
          aria-expanded={open}
          className="flex min-w-0 items-center gap-1"
          onClick={(event) => {
            event.stopPropagation();
            onClick();
          }}
        >
          <Icon
            name="chevron"
            size={11}
            className={`shrink-0 text-ink-3 transition-transform ${open ? "rotate-90" : ""}`}
          />
          <span className="truncate font-mono">{node.id.replace("<-", "←")}</span>
        </button>
      </div>
      <div role="cell" className="flex min-w-0 items-center gap-1 overflow-hidden px-2">
        <Place tokens={tokens} node={node} />
      </div>
      {columns
        .filter(({ look }) => look !== "name")
        .map(({ column, look }) => {
          const name = column as NumberColumn;
          const value = node[name];
          const max = name === "activation" ? (maxima.activation[groupOf(node)] ?? 0) : maxima[name];
          const background =
            look === "effect"
              ? effectBackground(value ?? 0, max)
              : activationBackground(Math.abs(value ?? 0), max);
          return (
            <div
              key={column}
              role="cell"
              className="num flex items-center justify-end px-2"
              style={{ background }}
            >
              {signed(value)}
            </div>
          );
        })}
    </div>
  );
}

function Place({ tokens, node }: { tokens: readonly Token[]; node: NodeEffect }) {
  if (node.position === null) return <span className="text-ink-3">every token</span>;
  return (
    <>
      <TokenText text={tokens[node.position]?.text ?? ""} className="truncate" />
      {node.source !== null && (
        <>
          <span className="text-ink-3">←</span>
          <TokenText text={tokens[node.source]?.text ?? ""} className="truncate" />
        </>
      )}
    </>
  );
}
