import { Fragment } from "react";
import type { ComparedAnswers, Direction, Model } from "../../api/types";
import { CopyButton } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { SaveButton } from "../../components/SaveButton";
import { Segmented } from "../../components/Segmented";
import { TokenText } from "../../components/TokenText";
import { seconds, signed } from "../../format/number";
import { type Compared, isOff, type View } from "../../url/view";
import { toCsv, toPython } from "./exports";
import type { Row } from "./nodeRows";
import type { Shown } from "./queries";
import { explained } from "./trace";

/** Above this share of D (or of 1) the sum is off by more than float32 rounding: docs/arithmetic.md. */
const TOLERANCE = 1e-4;
/** What each term of the accounting is called, and what it holds. */
const TERMS: Record<string, [name: string, title: string]> = {
  embed: ["embedding", "Token (and position) embeddings"],
  attn: ["attention", "All heads"],
  neuron: ["neurons", "All MLP neurons"],
  latent: ["latents", "All latents of the autoencoders, in place of what they stand for"],
  error: ["errors", "What the autoencoders fail to reconstruct, put back as it is"],
  skip: ["linear terms", "What transcoders pass on without latents"],
  bias: ["biases", "Constants that the model adds to the stream"],
  edit: ["edits", "What the edits add to the stream outside of any node"],
  constant: [
    "constant",
    "What the traced node adds itself: the biases of its projections and of the norm before it",
  ],
  remainder: ["remainder", "What the traced node’s non-linearity leaves over: it is no sum of what it reads"],
};

/** What is explained, its value, and the accounting: both sides of the sum. */
export function AnswerBar({
  shown,
  rows,
  compared,
  comparing,
  view,
  model,
  onCompare,
}: {
  shown: Shown;
  /** The answer's nodes, with what was measured of them. */
  rows: readonly Row[];
  compared: ComparedAnswers | null;
  /** Whether the other side is on its way. */
  comparing: boolean;
  view: View;
  model: Model | undefined;
  onCompare: (compare: Compared | null) => void;
}) {
  const { answer } = shown;
  const { direction, accounting, timing, tokens } = answer;
  const exact = model?.dtype === "float32" || model === undefined;
  const off = Math.abs(accounting.difference) > TOLERANCE * Math.max(1, Math.abs(accounting.value));
  const terms = Object.entries(accounting.terms).filter(([name, value]) => name in TERMS && value != null);
  const step = answer.trace.at(-1);
  const goal = step ? "S" : "D";
  const nodes = rows.map(({ disagreement: _, change: __, ...node }) => node);
  const document = () => JSON.stringify({ ...answer, nodes }, null, 2);
  const edits = view.edits.filter((edit) => !isOff(edit)).length;
  const under = edits > 0 ? `, under ${edits} edit${edits === 1 ? "" : "s"}` : "";
  const said = `logits, measured in ${seconds(timing.pass_s)}${under}`;
  const sides = compared && view.compare ? SIDES[view.compare] : null;
  return (
    <section aria-label="Answer" className="rounded-md border border-line bg-panel px-3 py-2.5">
      <div className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
        <p className="flex min-w-0 flex-wrap items-baseline gap-x-1.5 text-base">
          <span className="font-semibold">{goal}</span>
          <span className="text-ink-3">=</span>
          {step ? (
            <span data-testid="explained">{explained(step, tokens, answer.trace.at(-2))}</span>
          ) : (
            <>
              <Side tokens={direction.targets} />
              <span className="text-ink-3">−</span>
              {direction.distractors.length ? (
                <Side tokens={direction.distractors} />
              ) : (
                <span>mean logit</span>
              )}
            </>
          )}
          <span className="text-ink-3">=</span>
          {sides && compared ? (
            <span className="flex flex-wrap items-baseline gap-x-1.5" data-testid="change">
              <Value value={compared.comparison.left_value} title={sides.left} testid="before" />
              <span className="text-ink-3" title={`${sides.left}, then ${sides.right}`}>
                →
              </span>
              <Value value={compared.comparison.right_value} title={sides.right} testid="after" />
              <span className="num text-sm text-ink-2" title="The difference">
                ({signed(compared.comparison.difference)})
              </span>
            </span>
          ) : (
            <Value value={accounting.value} title={edits ? "Under the edits" : ""} testid="direction" />
          )}
          <span className="text-xs text-ink-3">{sides ? sides.words : step ? "" : said}</span>
        </p>
        <div className="flex flex-wrap gap-1.5">
          <CopyButton text={() => toPython(model?.name ?? "smollm2", shown.question, view, direction)}>
            Copy as Python
          </CopyButton>
          <CopyButton text={document}>Copy JSON</CopyButton>
          <CopyButton text={() => toCsv(rows)}>Copy CSV</CopyButton>
          <CopyButton text={() => window.location.href}>Copy link</CopyButton>
          <SaveButton file="clew-answer.json" text={document} />
        </div>
      </div>
      <p
        className="mt-1.5 flex flex-wrap items-baseline gap-x-1.5 text-xs text-ink-2"
        data-testid="accounting"
      >
        <span title="Direct effects by kind; no term is hidden">Direct effects:</span>
        {terms.map(([name, value], i) => (
          <Fragment key={name}>
            {i > 0 && <span className="text-ink-3">,</span>}
            <span title={TERMS[name]?.[1]}>
              {TERMS[name]?.[0]} <Effect value={value as number} />
            </span>
          </Fragment>
        ))}
        <span className="text-ink-3">· sum</span>
        <Effect value={accounting.sum} />
        {off && exact ? (
          <span className="inline-flex items-center gap-1 text-bad">
            <Icon name="warning" /> off by {signed(accounting.difference)}: more than rounding, please report
            it
          </span>
        ) : (
          <span className="inline-flex items-center gap-1 self-center text-good">
            <Icon name="check" size={12} /> adds up to {goal}
            <span className="text-ink-3">(off by {signed(accounting.difference)})</span>
          </span>
        )}
      </p>
      {(edits > 0 || view.second !== null) && (
        <div className="mt-1.5 flex flex-wrap items-center gap-2 text-xs text-ink-2">
          Tables show
          <Segmented<"one" | Compared>
            label="Tables show"
            value={view.compare ?? "one"}
            onChange={(value) => onCompare(value === "one" ? null : value)}
            choices={[
              {
                value: "one",
                label: edits > 0 ? "after the edits" : "this prompt",
                title: "One number for each effect",
              },
              {
                value: "edited",
                label: "before and after",
                title: "Each effect without the edits, with them, and the difference",
                refused: edits > 0 ? null : "No edit is switched on",
              },
              {
                value: "second",
                label: "both prompts",
                title: "Each effect on both prompts, and the difference",
                refused: view.second === null ? "There is no second prompt" : null,
              },
            ]}
          />
          {comparing && <span role="status">Asking for the other side…</span>}
        </div>
      )}
      {model?.softcap != null && (
        <p className="mt-1 text-xs text-ink-2">
          This model caps its logits softly at ±{model.softcap}; D is taken before the cap.
        </p>
      )}
    </section>
  );
}

const SIDES: Record<Compared, { left: string; right: string; words: string }> = {
  edited: { left: "before the edits", right: "after the edits", words: "before and after" },
  second: {
    left: "on the first prompt",
    right: "on the second prompt",
    words: "first and second prompt",
  },
};

function Value({ value, title, testid }: { value: number; title: string; testid: string }) {
  return (
    <span
      data-testid={testid}
      title={title}
      className={`num text-lg font-semibold ${value >= 0 ? "text-toward-ink" : "text-against-ink"}`}
    >
      {signed(value)}
    </span>
  );
}

function Side({ tokens }: { tokens: Direction["targets"] }) {
  return (
    <span>
      {tokens.length > 1 ? "mean logit(" : "logit("}
      {tokens.map((token, i) => (
        <Fragment key={token.id}>
          {i > 0 && ", "}
          <TokenText text={token.text} className="text-sm" />
        </Fragment>
      ))}
      )
    </span>
  );
}

function Effect({ value }: { value: number }) {
  return (
    <span className={`num ${value > 0 ? "text-toward-ink" : value < 0 ? "text-against-ink" : ""}`}>
      {signed(value)}
    </span>
  );
}
