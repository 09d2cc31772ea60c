import { useQuery } from "@tanstack/react-query";
import { useId, useRef, useState } from "react";
import { Failure } from "../../api/client";
import type { Candidate } from "../../api/types";
import { Button } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { TokenText } from "../../components/TokenText";
import { useDebounced } from "../../components/useDebounced";
import { percent } from "../../format/number";
import { tokenCheck } from "./queries";

const SHOWN = 8;

/** The targets, or the distractors: single tokens, typed or picked from what the model would say next. */
export function TokenField({
  label,
  tone,
  texts,
  candidates,
  placeholder,
  maxLength,
  onChange,
}: {
  label: string;
  tone: "toward" | "against";
  texts: readonly string[];
  candidates: readonly Candidate[];
  placeholder: string;
  maxLength: number;
  onChange: (texts: string[]) => void;
}) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const [draft, setDraft] = useState("");
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const settled = useDebounced(draft, 120);
  const check = useQuery({ ...tokenCheck(settled), enabled: settled !== "" });
  const found = settled === draft && draft !== "" ? check.data : undefined;

  const wanted = draft.trim().toLowerCase();
  const options = candidates
    .filter(({ text }) => !texts.includes(text) && text.trim().toLowerCase().startsWith(wanted))
    .slice(0, SHOWN);
  const add = (text: string) => {
    if (!texts.includes(text)) onChange([...texts, text]);
    setDraft("");
    setActive(-1);
    setOpen(false);
  };
  const remove = (text: string) => {
    onChange(texts.filter((other) => other !== text));
    input.current?.focus();
  };
  const press = (event: React.KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setOpen(true);
      const step = event.key === "ArrowDown" ? 1 : -1;
      setActive((old) => Math.max(-1, Math.min(options.length - 1, old + step)));
    } else if (event.key === "Enter") {
      event.preventDefault();
      const option = options[active];
      if (open && option) add(option.text);
      else if (found?.ok) add(draft);
    } else if (event.key === "Escape") {
      if (open) setOpen(false);
      else input.current?.blur();
    } else if (event.key === "Backspace" && draft === "" && texts.length > 0) {
      remove(texts[texts.length - 1] as string);
    }
  };

  const chip = tone === "toward" ? "border-toward/45 bg-toward/10" : "border-against/45 bg-against/10";
  return (
    <div className="relative min-w-0">
      <label htmlFor={id} className="mb-0.5 flex items-center gap-1.5 text-xs text-ink-2">
        <span className={`size-2 rounded-full ${tone === "toward" ? "bg-toward" : "bg-against"}`} />
        {label}
      </label>
      <div className="flex min-h-8 flex-wrap items-center gap-1 rounded border border-line-strong bg-page px-1 py-0.5 focus-within:outline-2 focus-within:outline-focus">
        {texts.map((text) => (
          <span key={text} className={`inline-flex h-5.5 items-center rounded border pl-1.5 text-xs ${chip}`}>
            <TokenText text={text} />
            <button
              type="button"
              aria-label={`Remove ${label.toLowerCase()} ${text}`}
              onClick={() => remove(text)}
              className="px-1 text-ink-2 hover:text-ink"
            >
              <Icon name="cross" size={11} />
            </button>
          </span>
        ))}
        <input
          ref={input}
          id={id}
          value={draft}
          maxLength={maxLength}
          placeholder={texts.length ? "" : placeholder}
          autoComplete="off"
          spellCheck={false}
          role="combobox"
          aria-expanded={open && options.length > 0}
          aria-controls={`${id}-list`}
          aria-activedescendant={active >= 0 ? `${id}-${active}` : undefined}
          onChange={(event) => {
            setDraft(event.target.value);
            setOpen(true);
            setActive(-1);
          }}
          onFocus={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onKeyDown={press}
          className="h-6 min-w-12 flex-1 bg-transparent px-1 font-mono text-xs outline-none"
        />
      </div>
      {open && options.length > 0 && (
        <div
          id={`${id}-list`}
          role="listbox"
          aria-label={`Candidates for ${label.toLowerCase()}`}
          className="absolute z-20 mt-0.5 w-full min-w-44 overflow-hidden rounded border border-line-strong bg-panel py-0.5 shadow-[0_4px_16px_rgb(0_0_0/0.14)]"
        >
          {options.map((option, i) => (
            <div
              key={option.id}
              id={`${id}-${i}`}
              role="option"
              tabIndex={-1}
              aria-selected={i === active}
              // The press must come before the blur that closes the list.
              onPointerDown={(event) => {
                event.preventDefault();
                add(option.text);
              }}
              className={`flex cursor-pointer justify-between px-2 py-0.5 text-xs hover:bg-raised ${i === active ? "bg-raised" : ""}`}
            >
              <TokenText text={option.text} />
              <span className="num text-ink-2">{percent(option.probability)}</span>
            </div>
          ))}
        </div>
      )}
      {check.error && settled !== "" && (
        <p role="alert" className="mt-1 text-xs text-bad">
          {check.error.message} {check.error instanceof Failure ? check.error.hint : ""}
        </p>
      )}
      {found && (
        <div className="mt-1 flex flex-wrap items-center gap-1.5 text-xs text-ink-2" aria-live="polite">
          {found.warning && <p className={found.ok ? "" : "text-bad"}>{found.warning}</p>}
          {found.fixes.map((fix) => (
            <Button key={fix} onClick={() => add(fix)}>
              Use <TokenText text={fix} />
            </Button>
          ))}
          {found.ok && (
            <Button onClick={() => add(draft)}>
              Add <TokenText text={draft} />
            </Button>
          )}
        </div>
      )}
    </div>
  );
}
