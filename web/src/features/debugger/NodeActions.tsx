import { useEffect, useRef, useState } from "react";
import type { Model, NodeEffect } from "../../api/types";
import { useAsked } from "../../components/asked";
import { Button, ButtonLink } from "../../components/Button";
import { componentOf } from "../../url/ids";
import { componentAddress } from "../../url/route";
import type { View } from "../../url/view";
import { FIRST_VALUE, noEdit, noVerify, OP_TITLES, type Op, opsAt, zero } from "./edits";
import { noTrace, readStep, throughName, waysOf } from "./trace";

/** What can be done with nodes, wherever they are shown. */
export interface Actions {
  /** Switches nodes off, or on again if all of them are off. */
  ablate: (ids: readonly string[]) => void;
  addEdit: (edit: string) => void;
  /** Explains a node through one of its inputs; its value is taken of step `of` of the trace, or of D when null. */
  trace: (step: string, of: number | null) => void;
  verify: (ids: readonly string[]) => void;
  verifyTop: () => void;
  /** Opens the attention pattern of a head, such as attn.23.3. */
  openHead: (head: string) => void;
}

/** The row of tools above what an opened node does. */
export function NodeActions({
  node,
  view,
  model,
  actions,
  verified,
  measuring,
  focusTrace,
  onFocused,
}: {
  node: NodeEffect;
  view: Pick<View, "edits" | "trace" | "second" | "ablation">;
  model: Model | undefined;
  actions: Actions;
  verified: boolean;
  measuring: boolean;
  /** Whether the trace is to take the focus, because its key was pressed. */
  focusTrace: boolean;
  onFocused: () => void;
}) {
  const uneditable = noEdit(node);
  const unmeasurable = noVerify(node.id, view.ablation);
  const untraceable = noTrace(node);
  const ablated = view.edits.includes(zero(node.id));
  const ops = opsAt(node);
  const asked = useAsked();
  const component = componentOf(node.id);
  return (
    <div
      className="mb-2 flex flex-wrap items-center gap-x-4 gap-y-1.5 text-xs"
      data-testid={`tools-${node.id}`}
    >
      <div className="flex flex-wrap items-center gap-1">
        <Button
          aria-pressed={ablated}
          disabled={uneditable !== null}
          title={uneditable ?? (ablated ? "Take the ablation out of the edits (a)" : `${OP_TITLES.zero} (a)`)}
          className={ablated ? "border-ink! text-ink!" : ""}
          onClick={() => actions.ablate([node.id])}
        >
          {ablated ? "Ablated" : "Ablate"}
        </Button>
        {ops.includes("mean") && (
          <Button title={OP_TITLES.mean} onClick={() => actions.addEdit(`mean:${node.id}`)}>
            To mean
          </Button>
        )}
        {ops.includes("cut") && (
          <Button title={OP_TITLES.cut} onClick={() => actions.addEdit(`cut:${node.id}`)}>
            Cut
          </Button>
        )}
        {ops.includes("patch") && (
          <Button
            disabled={view.second === null}
            title={view.second === null ? "Patching reads a second prompt; add one first" : OP_TITLES.patch}
            onClick={() => actions.addEdit(`patch:${node.id}`)}
          >
            Patch from second
          </Button>
        )}
        {ops.length > 0 && <Valued ops={ops} id={node.id} onAdd={actions.addEdit} />}
      </div>
      <TraceTools
        node={node}
        trace={view.trace}
        model={model}
        why={untraceable}
        focus={focusTrace}
        onFocused={onFocused}
        onTrace={actions.trace}
      />
      <div className="flex flex-wrap items-center gap-1">
        <Button
          disabled={verified || measuring || unmeasurable !== null}
          title={
            unmeasurable ??
            (verified
              ? "It is measured"
              : measuring
                ? "It is being measured"
                : "Run the model without it and measure (v)")
          }
          onClick={() => actions.verify([node.id])}
        >
          Verify
        </Button>
        {node.kind === "attn" && (
          <Button
            title="Which token attends to which, in this head"
            onClick={() => actions.openHead(`attn.${node.layer}.${node.index}`)}
          >
            Open attention pattern
          </Button>
        )}
        {component !== null && (
          <ButtonLink
            href={componentAddress(component, asked)}
            title="What it does in general: examples, statistics, weights (c)"
          >
            Component page
          </ButtonLink>
        )}
      </div>
    </div>
  );
}

/** The edits that need a value: choose one, give it, add it. */
function Valued({ ops, id, onAdd }: { ops: readonly Op[]; id: string; onAdd: (edit: string) => void }) {
  const valued = ops.filter((op) => FIRST_VALUE[op] !== undefined);
  const [op, setOp] = useState<Op>(valued[0] ?? "scale");
  const [text, setText] = useState("");
  const value = Number((text.trim() || FIRST_VALUE[op] || "").replace("−", "-"));
  const wrong = !Number.isFinite(value);
  return (
    <form
      className="flex items-center gap-1"
      onSubmit={(event) => {
        event.preventDefault();
        if (!wrong) onAdd(`${op}:${id}=${value}`);
      }}
    >
      <select
        aria-label="Change by"
        value={op}
        title={OP_TITLES[op]}
        onChange={(event) => setOp(event.target.value as Op)}
        className="h-6.5 rounded border border-line bg-panel px-1 text-ink"
      >
        {valued.map((one) => (
          <option key={one} title={OP_TITLES[one]}>
            {one}
          </option>
        ))}
      </select>
      <input
        aria-label={`Value to ${op}`}
        value={text}
        placeholder={FIRST_VALUE[op]}
        inputMode="decimal"
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        className="h-6.5 w-14 rounded border border-line bg-page px-1.5"
      />
      <Button type="submit" disabled={wrong} title={wrong ? "Give a number" : `${OP_TITLES[op]}`}>
        Add edit
      </Button>
    </form>
  );
}

function TraceTools({
  node,
  trace,
  model,
  why,
  focus,
  onFocused,
  onTrace,
}: {
  node: NodeEffect;
  trace: readonly string[];
  model: Model | undefined;
  why: string | null;
  focus: boolean;
  onFocused: () => void;
  onTrace: Actions["trace"];
}) {
  const last = trace.length - 1;
  const [of, setOf] = useState<number | null>(null);
  const group = useRef<HTMLFieldSetElement>(null);
  useEffect(() => {
    if (!focus) return;
    group.current?.querySelector("button")?.focus();
    onFocused();
  }, [focus, onFocused]);
  const ways = waysOf(node, model);
  const chosen = of === null ? last : of;
  const take = (through: string) => {
    // Only a value depends on what it moves; any other input is traced from where the trail stands.
    const at = through === "v" ? chosen : last;
    onTrace(`${node.id}:${through}`, at < 0 ? null : at);
  };
  if (why)
    return (
      <Button disabled title={why}>
        Trace
      </Button>
    );
  return (
    <fieldset
      ref={group}
      className="flex flex-wrap items-center gap-1"
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if ((event.target as HTMLElement).closest("select")) return;
        const way = ways.find(({ key }) => key === event.key);
        if (way) {
          // The page's own keys, such as v, stand back here.
          event.preventDefault();
          event.stopPropagation();
          take(way.through);
        } else if (event.key === "Escape") (event.target as HTMLElement).blur();
      }}
    >
      <legend className="sr-only">Trace upstream through</legend>
      <span aria-hidden="true" className="text-ink-2">
        Trace through
      </span>
      {ways.map(({ through, label, key, title }) => (
        <Button
          key={through}
          title={`${title} (t, then ${key})`}
          aria-label={`Trace through ${label}`}
          onClick={() => take(through)}
        >
          {label}
        </Button>
      ))}
      {ways.some(({ through }) => through === "v") && trace.length > 0 && (
        <label className="flex items-center gap-1 text-ink-2">
          value of
          <select
            value={chosen}
            title="What the traced value is to move; an earlier choice cuts the trail back to it"
            onChange={(event) => setOf(Number(event.target.value))}
            className="h-6.5 max-w-40 rounded border border-line bg-panel px-1 text-ink"
          >
            <option value={-1}>D</option>
            {trace.map((text, i) => {
              const step = readStep(text);
              return (
                <option key={trace.slice(0, i + 1).join(" ")} value={i}>
                  {`${i + 1}. ${step.node.replace("<-", "←")} ${throughName(step)}`}
                </option>
              );
            })}
          </select>
        </label>
      )}
    </fieldset>
  );
}
