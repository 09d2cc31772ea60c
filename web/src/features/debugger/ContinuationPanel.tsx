import { Fragment, useState } from "react";
import type { Question } from "../../api/types";
import { Button } from "../../components/Button";
import { Notice } from "../../components/Notice";
import { Panel } from "../../components/Panel";
import { Segmented } from "../../components/Segmented";
import { TokenText } from "../../components/TokenText";
import { percent } from "../../format/number";
import type { Sampling } from "../../url/view";
import { firstDifference, type Generated, LENGTHS, TEMPERATURE } from "./continuation";
import { type Continuation, useContinuation } from "./useContinuation";

interface Props {
  question: Question;
  /** Whether the text is shown, as the address says. */
  on: boolean;
  sampling: Sampling;
  onShow: (on: boolean) => void;
  onSampling: (sampling: Sampling) => void;
}

/**
 * The text that the model goes on with: as it is and, once there are edits, under them beside it. It follows the
 * question by itself; the first token that the edits change is marked.
 */
export function ContinuationPanel(props: Props) {
  const { on, onShow } = props;
  if (on) return <Texts {...props} />;
  return (
    <Panel
      title="Continuation"
      actions={
        <span className="ml-auto">
          <Button title="Let the model go on from the prompt" onClick={() => onShow(true)}>
            Continue the text
          </Button>
        </span>
      }
    >
      <p className="px-3 pb-3 text-xs text-ink-2">
        Lets the model go on from the prompt, as it is and under your edits, side by side.
      </p>
    </Panel>
  );
}

function Texts({ question, sampling, onShow, onSampling }: Props) {
  const edited = question.edits.length > 0;
  // A text is that of the whole prompt: where D is read and what is traced do not change it.
  const asked: Question = { ...question, targets: [], distractors: [], position: null, trace: [] };
  const before = useContinuation({ ...asked, edits: [], second: null, alignment: null }, sampling);
  const after = useContinuation(edited ? asked : null, sampling);
  const change = (part: Partial<Sampling>) => onSampling({ ...sampling, ...part });
  const running = before.text.state === "running" || (edited && after.text.state === "running");
  const differs = edited ? firstDifference(before.text.tokens, after.text.tokens) : null;
  const finished = before.text.state === "done" && after.text.state === "done";
  const again = () => {
    before.restart();
    after.restart();
  };
  return (
    <Panel
      title="Continuation"
      actions={
        <div className="ml-auto flex flex-wrap items-center gap-x-3 gap-y-1">
          <Segmented
            label="How tokens are chosen"
            value={sampling.temperature === 0 ? "greedy" : "sampled"}
            choices={[
              { value: "greedy", label: "greedy", title: "Always the likeliest token" },
              { value: "sampled", label: "sampled", title: "Drawn from the model's probabilities" },
            ]}
            onChange={(how) => change({ temperature: how === "greedy" ? 0 : TEMPERATURE })}
          />
          {sampling.temperature > 0 && (
            <>
              <Figure
                label="temperature"
                value={sampling.temperature}
                min={0.1}
                max={100}
                step={0.1}
                onChange={(temperature) => change({ temperature })}
              />
              <Figure
                label="seed"
                value={sampling.seed}
                min={0}
                max={2 ** 31 - 1}
                step={1}
                onChange={(seed) => change({ seed })}
              />
            </>
          )}
          <label className="flex items-center gap-1 text-xs text-ink-2">
            <select
              aria-label="Tokens to add"
              value={sampling.n}
              onChange={(event) => change({ n: Number(event.target.value) })}
              className="h-6 rounded border border-line bg-panel px-1 text-xs"
            >
              {[...new Set([...LENGTHS, sampling.n])]
                .sort((a, b) => a - b)
                .map((n) => (
                  <option key={n}>{n}</option>
                ))}
            </select>
            tokens
          </label>
          {running ? (
            <Button
              onClick={() => {
                before.stop();
                after.stop();
              }}
            >
              Stop
            </Button>
          ) : (
            <Button onClick={again}>Again</Button>
          )}
          <Button
            look="bare"
            icon="cross"
            className="-mr-1.5"
            aria-label="Hide the continuation"
            title="Hide the continuation"
            onClick={() => onShow(false)}
          />
        </div>
      }
    >
      <div
        className={`grid gap-x-4 gap-y-2 px-3 pb-3 ${edited ? "md:grid-cols-2" : ""}`}
        data-testid="continuation"
      >
        <Text title="As it is" text={before.text} differs={differs} onRetry={before.restart} />
        {edited && (
          <Text
            title={`Under ${question.edits.length} edit${question.edits.length === 1 ? "" : "s"}`}
            text={after.text}
            differs={differs}
            onRetry={after.restart}
          />
        )}
        <p className="text-2xs text-ink-3 md:col-span-full">
          {!edited
            ? "Add an edit to see what it does to the text."
            : differs !== null
              ? `The edits change the text from its token ${differs + 1} on.`
              : finished
                ? `The edits leave these ${sampling.n} tokens as they are.`
                : "\u00a0"}
        </p>
      </div>
    </Panel>
  );
}

function Text({
  title,
  text,
  differs,
  onRetry,
}: {
  title: string;
  text: Continuation;
  differs: number | null;
  onRetry: () => void;
}) {
  const { state, tokens, error } = text;
  return (
    <section aria-label={title} className="min-w-0">
      <h3 className="mb-0.5 text-2xs text-ink-2">
        {title}
        {state === "stopped" && ", stopped"}
      </h3>
      {error && (
        <Notice error={error} className="mb-1">
          <Button onClick={onRetry}>Retry</Button>
        </Notice>
      )}
      <p aria-busy={state === "running"} className="flex min-h-11 flex-wrap content-start gap-y-0.5 text-xs">
        {tokens.map((token, i) => (
          <Piece key={token.position} token={token} first={i === differs} />
        ))}
        {state === "running" && (
          <span className="inline-block h-4 w-1.5 animate-pulse bg-ink-3" role="status">
            <span className="sr-only">The model goes on</span>
          </span>
        )}
      </p>
    </section>
  );
}

function Piece({ token, first }: { token: Generated; first: boolean }) {
  return (
    <Fragment>
      <span
        title={`token ${token.position} · ${percent(token.probability)}${first ? " · the first that differs" : ""}`}
        data-differs={first || undefined}
        className={`rounded-[3px] px-px ${first ? "bg-ink text-page" : ""}`}
      >
        <TokenText text={token.text} />
      </span>
      {token.text.includes("\n") && <span className="basis-full" />}
    </Fragment>
  );
}

/** A number in a small field; what is out of range is not taken. */
function Figure({
  label,
  value,
  min,
  max,
  step,
  onChange,
}: {
  label: string;
  value: number;
  min: number;
  max: number;
  step: number;
  onChange: (value: number) => void;
}) {
  const [draft, setDraft] = useState(`${value}`);
  const [known, setKnown] = useState(value);
  if (value !== known) {
    setKnown(value);
    if (Number(draft) !== value) setDraft(`${value}`);
  }
  return (
    <label className="flex items-center gap-1 text-xs text-ink-2">
      {label}
      <input
        type="number"
        value={draft}
        min={min}
        max={max}
        step={step}
        onBlur={() => setDraft(`${value}`)}
        onChange={(event) => {
          setDraft(event.target.value);
          const next = event.target.valueAsNumber;
          if (next >= min && next <= max) onChange(next);
        }}
        className="num h-6 w-16 rounded border border-line bg-page px-1 text-xs"
      />
    </label>
  );
}
