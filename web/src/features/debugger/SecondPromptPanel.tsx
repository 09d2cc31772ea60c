import { useEffect, useRef, useState } from "react";
import { useTokens } from "../../api/queries";
import type { Question, Status } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Tick } from "../../components/Tick";
import type { View } from "../../url/view";
import { AlignmentEditor } from "./AlignmentEditor";
import { countPairs, same, usable } from "./alignment";
import { useAlignment } from "./promptQueries";
import { TokenStrip } from "./TokenStrip";

type Part = Pick<View, "second" | "secondAt" | "alignment" | "compare">;

/**
 * A second prompt beside the first: its text, where its D is read, and which of its tokens are whose counterpart.
 *
 * `view` is what the address holds of it. `onChange` gets the parts that change: a new text takes its position and a
 * hand-made alignment with it, and so should a new first prompt. Without a second prompt this is one button.
 */
export function SecondPromptPanel({
  question,
  view,
  limits,
  onChange,
}: {
  question: Question;
  view: Part & Pick<View, "edits">;
  limits: Status["limits"] | undefined;
  onChange: (part: Partial<View>) => void;
}) {
  const [opened, setOpened] = useState(false);
  if (view.second === null && !opened)
    return (
      <Button
        className="self-start"
        title="Compare with another prompt, and patch what it does into this one"
        onClick={() => setOpened(true)}
      >
        Second prompt…
      </Button>
    );
  return (
    <Opened
      question={question}
      view={view}
      limits={limits}
      onChange={onChange}
      onClose={() => {
        setOpened(false);
        if (view.second === null) return;
        const compare = view.compare === "second" ? null : view.compare;
        onChange({ second: null, secondAt: null, alignment: null, compare, sweep: false });
      }}
    />
  );
}

function Opened({
  question,
  view,
  limits,
  onChange,
  onClose,
}: {
  question: Question;
  view: Part & Pick<View, "edits">;
  limits: Status["limits"] | undefined;
  onChange: (part: Partial<View>) => void;
  onClose: () => void;
}) {
  const { prompt, bos } = question;
  const [draft, setDraft] = useState(view.second ?? prompt);
  const [known, setKnown] = useState(view.second);
  if (view.second !== known) {
    // It changed from outside: Back, or a link.
    setKnown(view.second);
    setDraft(view.second ?? prompt);
  }
  const area = useRef<HTMLTextAreaElement>(null);
  const fresh = useRef(view.second === null);
  useEffect(() => {
    // Just opened by hand: what is there is the first prompt, to be changed in a word or two.
    if (fresh.current) area.current?.focus();
  }, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useEffect(() => {
    if (!area.current) return;
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(area.current.scrollHeight + 2, 220)}px`;
  }, [draft]);

  const changed = draft !== view.second;
  const typed = useTokens(draft, bos, draft !== "" && changed);
  const aligned = useAlignment(prompt, view.second, bos);
  const busy = aligned.data === undefined || aligned.isPlaceholderData;
  const { left = [], right = [], alignment: automatic = [] } = aligned.data ?? {};
  const pairs = usable(view.alignment, automatic, right.length);
  const at = question.position ?? left.length - 1;
  const tokens = draft === "" ? [] : changed ? (typed.data?.tokens ?? []) : right;
  const secondAt = view.secondAt ?? pairs[at] ?? right.length - 1;
  const error = changed ? typed.error : aligned.error;
  const overLength = limits !== undefined && draft.length > limits.max_prompt_chars;
  const refused =
    draft === ""
      ? "Type a second prompt first"
      : overLength
        ? `The prompt is longer than ${limits?.max_prompt_chars} characters`
        : changed
          ? null
          : "This second prompt is the one in use";
  const patched = view.edits.some((edit) => /^!?patch:/.test(edit));
  const use = (position: number | null = null) => {
    if (refused === null) onChange({ second: draft, secondAt: position, alignment: null });
  };

  return (
    <Panel
      title="Second prompt"
      actions={
        <Button
          look="bare"
          icon="cross"
          className="-mr-1.5 ml-auto"
          aria-label="Remove the second prompt"
          title={patched ? "Edits patch from it: remove those first" : "Remove the second prompt"}
          disabled={patched}
          onClick={onClose}
        />
      }
    >
      <div className="flex flex-col gap-2 px-3 pb-3">
        <div>
          <textarea
            ref={area}
            rows={2}
            value={draft}
            spellCheck={false}
            aria-label="Second prompt"
            placeholder="Type another prompt, of any length"
            onChange={(event) => setDraft(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
                event.preventDefault();
                use();
              } else if (event.key === "Escape") {
                if (view.second === null) onClose();
                else event.currentTarget.blur();
              }
            }}
            className="block w-full resize-none rounded border border-line-strong bg-page px-2 py-1.5 text-sm"
          />
          <div className="mt-1 flex items-center gap-2">
            <Tick
              label="Compare the two prompts"
              title={
                view.second === null
                  ? "Use a second prompt first"
                  : "Show both prompts in every table, with differences"
              }
              checked={view.compare === "second"}
              disabled={view.second === null}
              onChange={(checked) => onChange({ compare: checked ? "second" : null })}
            />
            <Button
              look={refused === null ? "strong" : "plain"}
              className="ml-auto"
              disabled={refused !== null}
              title={refused ?? "Align this prompt with the first"}
              onClick={() => use()}
            >
              Use
            </Button>
          </div>
        </div>
        {error && (
          <Notice error={error}>
            <Button onClick={() => (changed ? typed.refetch() : aligned.refetch())}>Retry</Button>
          </Notice>
        )}
        <div>
          <p className="mb-1 text-xs text-ink-2">
            {tokens.length} token{tokens.length === 1 ? "" : "s"}
            {changed ? " as typed" : ", its D is read after the underlined one"}
          </p>
          <div data-testid="second-tokens">
            <TokenStrip
              tokens={tokens}
              at={changed ? tokens.length - 1 : secondAt}
              effects={null}
              onPick={(position) => (changed ? use(position) : onChange({ secondAt: position }))}
            />
          </div>
        </div>
        {view.second !== null && !changed && left.length > 0 && (
          <div className={busy ? "stale" : ""}>
            <div className="mb-1 flex flex-wrap items-center gap-x-2">
              <span className="text-xs text-ink-2">
                {countPairs(pairs)} of {left.length} tokens paired
              </span>
              <Button
                look="bare"
                className="-mr-2 ml-auto"
                disabled={busy || same(pairs, automatic)}
                title={
                  same(pairs, automatic) ? "This is the automatic alignment" : "Align by what the tokens are"
                }
                onClick={() => onChange({ alignment: null })}
              >
                Reset to automatic
              </Button>
            </div>
            <AlignmentEditor
              first={left}
              second={right}
              pairs={pairs}
              at={at}
              secondAt={secondAt}
              busy={busy}
              onChange={(next) => onChange({ alignment: same(next, automatic) ? null : [...next] })}
            />
            <p className="mt-1 text-2xs text-ink-3">
              Above the first prompt, below the second. Click a token of each to pair them; click the line
              between two, or press Delete, to take them apart.
            </p>
          </div>
        )}
      </div>
    </Panel>
  );
}
