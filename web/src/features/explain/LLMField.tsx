import { useState } from "react";
import { useLLMs } from "../../api/explanations";
import type { ListedLLM } from "../../api/types";
import { INPUT } from "../sae/Field";
import { LOOKUP, warning } from "./request";

const ANOTHER = "…";
/** What there is before the server says. */
const UNKNOWN: readonly ListedLLM[] = [{ reference: LOOKUP, kind: "lookup", key: null, methods: null }];

/** Which language model, if any: one of those that the server knows, or another by name and address. */
export function LLMField({
  label,
  title,
  value,
  same = null,
  lookup = true,
  disabled = false,
  onChange,
}: {
  label: string;
  title: string;
  value: string;
  /** What an empty value is called; null: there has to be one. */
  same?: string | null;
  /** Whether it can do without a language model. */
  lookup?: boolean;
  disabled?: boolean;
  onChange: (reference: string) => void;
}) {
  const llms = useLLMs();
  const rows = (llms.data?.rows ?? UNKNOWN).filter(({ kind }) => lookup || kind !== "lookup");
  const empty = same ?? (lookup ? null : "choose one");
  const listed = value === "" ? empty !== null : rows.some(({ reference }) => reference === value);
  const [typing, setTyping] = useState(!listed);
  const another = typing || (llms.data !== undefined && !listed);
  const why = value.trim() === "" ? null : warning(value.trim(), llms.data);
  return (
    <div className="flex min-w-0 flex-wrap items-center gap-1.5">
      <label className="flex min-w-0 items-center gap-1.5 text-xs text-ink-2" title={title}>
        <span className="whitespace-nowrap">{label}</span>
        <select
          value={another ? ANOTHER : value}
          disabled={disabled}
          onChange={(event) => {
            const chosen = event.target.value;
            setTyping(chosen === ANOTHER);
            onChange(chosen === ANOTHER ? "" : chosen);
          }}
          className="h-6.5 max-w-60 min-w-0 rounded border border-line bg-panel px-1 text-xs text-ink disabled:opacity-50"
        >
          {empty !== null && <option value="">{empty}</option>}
          {rows.map((row) => (
            <option key={row.reference} value={row.reference}>
              {nameOf(row)}
            </option>
          ))}
          {(llms.data?.others || another) && <option value={ANOTHER}>another…</option>}
        </select>
      </label>
      {another && (
        <input
          value={value}
          aria-label={`${label}: name and address`}
          placeholder="MODEL@http://localhost:8000/v1, MODEL, or local:MODEL"
          spellCheck={false}
          autoCapitalize="off"
          autoComplete="off"
          disabled={disabled}
          onChange={(event) => onChange(event.target.value)}
          className={`${INPUT} w-80! max-w-full font-mono placeholder:font-sans`}
        />
      )}
      {why !== null && <span className="text-2xs text-ink-3">{why}</span>}
    </div>
  );
}

function nameOf({ reference, kind, key }: Pick<ListedLLM, "reference" | "kind" | "key">): string {
  if (kind === "lookup") return "lookup (no language model)";
  return key === false ? `${reference} (no key)` : reference;
}
