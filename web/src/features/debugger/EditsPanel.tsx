import { type FormEvent, useState } from "react";
import { Button } from "../../components/Button";
import { ComponentLink } from "../../components/ComponentLink";
import { Icon } from "../../components/Icon";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { isOff, switched } from "../../url/view";
import { FIRST_VALUE, moved, OP_TITLES, OPS, type Op, readEdit, writeEdit } from "./edits";

/** The stack of edits: what is changed inside the model, applied from the top down. */
export function EditsPanel({
  edits,
  hasSecond,
  suggestion,
  error,
  onEdits,
  onAdd,
}: {
  edits: readonly string[];
  hasSecond: boolean;
  /** The place that the form offers: the active row's. */
  suggestion: string | null;
  /** Why the stack as it stands was refused. */
  error: Error | null;
  onEdits: (edits: string[]) => void;
  /** Resolves once the edit is made; rejects with why it cannot be. */
  onAdd: (edit: string) => Promise<void>;
}) {
  const [dragged, setDragged] = useState<number | null>(null);
  const [over, setOver] = useState<number | null>(null);
  const seen = new Map<string, number>();
  const active = edits.filter((edit) => !isOff(edit)).length;
  return (
    <Panel
      title="Edits"
      actions={
        edits.length > 0 && (
          <>
            <span className="num text-2xs text-ink-3">
              {active === edits.length ? edits.length : `${active} of ${edits.length} on`}
            </span>
            <Button className="ml-auto" onClick={() => onEdits([])}>
              Clear all
            </Button>
          </>
        )
      }
    >
      {edits.length > 0 && (
        <ol aria-label="Edits, applied from the top down" className="border-t border-line">
          {edits.map((edit, i) => {
            const { op, place, value, off } = readEdit(edit);
            const nth = (seen.get(edit) ?? 0) + 1;
            seen.set(edit, nth);
            const what = `${op} ${place}`;
            return (
              <li
                key={`${edit}#${nth}`}
                data-edit={edit}
                draggable
                onDragStart={(event) => {
                  event.dataTransfer.effectAllowed = "move";
                  setDragged(i);
                }}
                onDragEnd={() => {
                  setDragged(null);
                  setOver(null);
                }}
                onDragOver={(event) => {
                  if (dragged === null) return;
                  event.preventDefault();
                  setOver(i);
                }}
                onDrop={(event) => {
                  event.preventDefault();
                  if (dragged !== null && dragged !== i) onEdits(moved(edits, dragged, i));
                }}
                className={`flex h-7 cursor-grab items-center gap-1.5 border-b border-line pr-1 pl-2.5 text-xs ${
                  over === i && dragged !== null && dragged !== i ? "bg-raised" : ""
                }`}
              >
                <input
                  type="checkbox"
                  checked={!off}
                  aria-label={off ? `Switch on: ${what}` : `Switch off: ${what}`}
                  title={off ? "Switched off; the model runs without it" : "Switch off without removing it"}
                  onChange={() => onEdits(edits.map((other, j) => (j === i ? switched(other) : other)))}
                />
                <span
                  className={`w-10 shrink-0 font-medium ${off ? "text-ink-3 line-through" : ""}`}
                  title={OP_TITLES[op as Op]}
                >
                  {op}
                </span>
                <span
                  className={`min-w-0 flex-1 truncate font-mono ${off ? "text-ink-3 line-through" : ""}`}
                  title={edit}
                >
                  <ComponentLink node={place} />
                  {value !== null && <span className="text-ink-2"> = {value}</span>}
                </span>
                <Move
                  step={-1}
                  what={what}
                  disabled={i === 0}
                  onClick={() => onEdits(moved(edits, i, i - 1))}
                />
                <Move
                  step={1}
                  what={what}
                  disabled={i === edits.length - 1}
                  onClick={() => onEdits(moved(edits, i, i + 1))}
                />
                <button
                  type="button"
                  aria-label={`Remove edit: ${what}`}
                  title="Remove"
                  onClick={() => onEdits(edits.filter((_, j) => j !== i))}
                  className="inline-flex size-5.5 items-center justify-center rounded text-ink-3 hover:bg-raised hover:text-ink"
                >
                  <Icon name="cross" size={11} />
                </button>
              </li>
            );
          })}
        </ol>
      )}
      {error && <Notice error={error} className="mx-3 mt-2" />}
      <AddForm empty={edits.length === 0} hasSecond={hasSecond} suggestion={suggestion} onAdd={onAdd} />
    </Panel>
  );
}

function Move({
  step,
  what,
  disabled,
  onClick,
}: {
  step: -1 | 1;
  what: string;
  disabled: boolean;
  onClick: () => void;
}) {
  const way = step < 0 ? "up" : "down";
  return (
    <button
      type="button"
      aria-label={`Move ${way}: ${what}`}
      title={
        disabled ? `It is the ${step < 0 ? "first" : "last"} one` : `Apply ${step < 0 ? "earlier" : "later"}`
      }
      disabled={disabled}
      onClick={onClick}
      className="inline-flex size-5.5 items-center justify-center rounded text-ink-3 hover:bg-raised hover:text-ink disabled:cursor-not-allowed disabled:opacity-30"
    >
      <Icon name="chevron" size={11} className={step < 0 ? "-rotate-90" : "rotate-90"} />
    </button>
  );
}

function AddForm({
  empty,
  hasSecond,
  suggestion,
  onAdd,
}: {
  /** Whether the stack is. */
  empty: boolean;
  hasSecond: boolean;
  suggestion: string | null;
  onAdd: (edit: string) => Promise<void>;
}) {
  const [op, setOp] = useState<Op>("zero");
  const [place, setPlace] = useState("");
  const [value, setValue] = useState("");
  const [working, setWorking] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const valued = FIRST_VALUE[op] !== undefined;
  const refused =
    op === "patch" && !hasSecond
      ? "Patching reads a second prompt; add one first"
      : place.trim() === ""
        ? "Name a place first, such as attn.23.3@13"
        : working
          ? "The edit is being made"
          : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (refused) return;
    const text = writeEdit({
      op,
      place: place.trim().replaceAll("←", "<-"),
      value: valued ? value.trim().replace("−", "-") || (FIRST_VALUE[op] as string) : null,
      off: false,
    });
    setWorking(true);
    setError(null);
    onAdd(text)
      .then(() => setPlace(""), setError)
      .finally(() => setWorking(false));
  };
  const field = "h-6.5 rounded border border-line-strong bg-page px-1.5 text-xs";
  return (
    <form onSubmit={submit} aria-label="Add an edit" className="px-3 pt-1.5 pb-2">
      <div className="flex gap-1.5">
        <select
          aria-label="Op"
          value={op}
          title={OP_TITLES[op]}
          onChange={(event) => {
            setOp(event.target.value as Op);
            setError(null);
          }}
          className={`${field} shrink-0 px-1!`}
        >
          {OPS.map((one) => (
            <option key={one} value={one} title={OP_TITLES[one]}>
              {one}
            </option>
          ))}
        </select>
        <input
          aria-label="Place"
          value={place}
          placeholder={suggestion ?? "attn.23.3@13"}
          spellCheck={false}
          autoCapitalize="off"
          title="attn.L.H@P, attn.L.H@P<-S, attn.L.*, neuron.L.N@P, neuron.L.*, latent.SITE.L.J@P, error.SITE.L@P, resid.L@P or embed@P; without @P at every token, @3,5 at some. → takes the active row"
          onChange={(event) => {
            setPlace(event.target.value);
            setError(null);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") event.currentTarget.blur();
            // The grey text is a suggestion: the arrow takes it.
            if (event.key === "ArrowRight" && place === "" && suggestion) {
              event.preventDefault();
              setPlace(suggestion);
            }
          }}
          className={`${field} min-w-0 flex-1 font-mono`}
        />
        {valued && (
          <input
            aria-label="Value"
            value={value}
            placeholder={FIRST_VALUE[op]}
            inputMode="decimal"
            title={OP_TITLES[op]}
            onChange={(event) => setValue(event.target.value)}
            onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
            className={`${field} w-14`}
          />
        )}
        <Button type="submit" disabled={refused !== null} title={refused ?? "Add it to the stack"}>
          Add
        </Button>
      </div>
      <p className="mt-1 text-2xs text-ink-3">
        {empty && place === "" && op === "zero" ? (
          <>
            Nothing is changed inside the model. <kbd className="font-mono text-ink-2">a</kbd> on a row
            switches its node off.
          </>
        ) : (
          `${OP_TITLES[op]}.`
        )}
      </p>
      {error && <Notice error={error} className="mt-1.5" />}
    </form>
  );
}
