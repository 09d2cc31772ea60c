import { Fragment } from "react";
import type { Direction, Model } from "../../api/types";
import { Button, CopyButton } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { TokenText } from "../../components/TokenText";
import { seconds, signed } from "../../format/number";
import type { View } from "../../url/view";
import { download, toCsv, toPython } from "./exports";
import type { Shown } from "./queries";

/** Above this share of D (or of 1) the sum is off by more than float32 rounding: docs/arithmetic.md. */
const TOLERANCE = 1e-4;
const NAMES: Record<string, string> = {
  embed: "embedding",
  attn: "attention",
  neuron: "neurons",
  bias: "biases",
};

/** D, and the accounting: both sides of the sum. */
export function AnswerBar({ shown, view, model }: { shown: Shown; view: View; model: Model | undefined }) {
  const { direction, accounting, timing } = shown.answer;
  const exact = model?.dtype === "float32" || model === undefined;
  const off = Math.abs(accounting.difference) > TOLERANCE * Math.max(1, Math.abs(accounting.value));
  const terms = Object.entries(accounting.terms).filter(([name]) => name in NAMES);
  return (
    <section aria-label="Answer" className="rounded-md border border-line bg-panel px-3 py-2.5">
      <div className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
        <p className="flex min-w-0 flex-wrap items-baseline gap-x-1.5 text-base">
          <span className="font-semibold">D</span>
          <span className="text-ink-3">=</span>
          <Side tokens={direction.targets} />
          <span className="text-ink-3">−</span>
          {direction.distractors.length ? <Side tokens={direction.distractors} /> : <span>mean logit</span>}
          <span className="text-ink-3">=</span>
          <span
            data-testid="direction"
            className={`num text-lg font-semibold ${direction.value >= 0 ? "text-toward-ink" : "text-against-ink"}`}
          >
            {signed(direction.value)}
          </span>
          <span className="text-xs text-ink-3">logits, measured in {seconds(timing.pass_s)}</span>
        </p>
        <div className="flex flex-wrap gap-1.5">
          <CopyButton text={() => toPython(model?.name ?? "smollm2", shown.question, view)}>
            Copy as Python
          </CopyButton>
          <CopyButton text={() => JSON.stringify(shown.answer, null, 2)}>Copy JSON</CopyButton>
          <CopyButton text={() => toCsv(shown.answer.nodes)}>Copy CSV</CopyButton>
          <CopyButton text={() => window.location.href}>Copy link</CopyButton>
          <Button
            icon="save"
            onClick={() =>
              download("clew-answer.json", "application/json", JSON.stringify(shown.answer, null, 2))
            }
          >
            JSON
          </Button>
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
            <span>
              {NAMES[name]} <Effect value={value as number} />
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
            <Icon name="check" size={12} /> adds up to D
            <span className="text-ink-3">(off by {signed(accounting.difference)})</span>
          </span>
        )}
      </p>
      {model?.softcap != null && (
        <p className="mt-1 text-xs text-ink-2">
          This model caps its logits softly at ±{model.softcap}; D is taken before the cap.
        </p>
      )}
    </section>
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
